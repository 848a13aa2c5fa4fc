//! Numbers on their way into Prometheus' text format.

use std::collections::BTreeMap;

use prometheus::core::{Collector, Metric as _};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Histogram, TextEncoder};

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

    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[Label<'_>],
        histogram: &Histogram,
    ) {
        let mut metric = histogram.metric();
        metric.set_label(pairs(labels));
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
