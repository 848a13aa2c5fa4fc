//! Numbers on their way into Prometheus' text format.

use std::collections::BTreeMap;

use prometheus::TextEncoder;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{
    self, Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType,
};

use super::histogram::Histogram;

/// The families of one scrape, by name.
#[derive(Default)]
pub(super) struct Exposition(BTreeMap<&'static str, MetricFamily>);

/// What a number is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

/// A label's name and value.
pub(super) type Label<'a> = (&'static str, &'a str);

impl Exposition {
    pub(super) fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[Label<'_>],
        value: u64,
    ) {
        self.number(Kind::Counter, name, help, labels, value);
    }

    /// A number without labels.
    pub(super) fn single(
        &mut self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        value: u64,
    ) {
        self.number(kind, name, help, &[], value);
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "Prometheus knows no other numbers, and 2^53 is far"
    )]
    pub(super) fn number(
        &mut self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        labels: &[Label<'_>],
        value: u64,
    ) {
        let mut metric = Metric::from_label(pairs(labels));
        let kind = match kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value as f64);
                metric.set_counter(counter);
                MetricType::COUNTER
            }
            Kind::Gauge => {
                let mut gauge = Gauge::default();
                gauge.set_value(value as f64);
                metric.set_gauge(gauge);
                MetricType::GAUGE
            }
        };
        self.add(name, help, kind, metric);
    }

    pub(super) fn histogram<const N: usize>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[Label<'_>],
        histogram: &Histogram<N>,
    ) {
        let bucket = |(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        };
        let mut counted = proto::Histogram::default();
        counted.set_bucket(histogram.up_to().map(bucket).collect());
        // After the buckets: so no bucket has more than all of them.
        let spans = histogram.spans();
        counted.set_sample_count(spans.count);
        counted.set_sample_sum(spans.seconds);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_histogram(counted);
        self.add(name, help, MetricType::HISTOGRAM, metric);
    }

    fn add(&mut self, name: &'static str, help: &'static str, kind: MetricType, metric: Metric) {
        let family = self.0.entry(name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family
        });
        family.mut_metric().push(metric);
    }

    /// All of it, and the process's own numbers, in the text format 0.0.4.
    pub(super) fn into_text(self) -> String {
        let mut families: Vec<_> = self.0.into_values().collect();
        families.extend(ProcessCollector::for_self().collect());
        // Fails for a family without a metric alone, of which there is none.
        TextEncoder::new()
            .encode_to_string(&families)
            .unwrap_or_default()
    }
}

fn pairs(labels: &[Label<'_>]) -> Vec<LabelPair> {
    labels
        .iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        })
        .collect()
}
