//! Chains that begin with a weighted set.

use super::{CHAT, FALLBACK_SAYS, question};
use crate::support::{Gateway, Reply, Setup, Upstream};

/// `small-chat` of the commented configuration: two of weights 3 and 1, and one fallback.
struct SmallChat {
    openai: Upstream,
    mistral: Upstream,
    own_gpus: Upstream,
    gateway: Gateway,
}

impl SmallChat {
    async fn start() -> Self {
        let (openai, mistral, own_gpus) = (
            Upstream::start().await,
            Upstream::start().await,
            Upstream::start().await,
        );
        openai.always(Reply::chat("gpt-4o-mini", FALLBACK_SAYS));
        mistral.always(Reply::chat("mistral-small-latest", FALLBACK_SAYS));
        own_gpus.always(Reply::chat("llama-3.3-70b", FALLBACK_SAYS));
        let policy = "match: [small]
production:
  target:
    - {model: gpt-4o-mini, endpoint: openai, weight: 3}
    - {model: mistral-small-latest, endpoint: mistral, weight: 1}
  fallbacks:
    - {model: llama-3.3-70b, endpoint: own_gpus}
request_timeout: 20";
        let gateway = Setup::new()
            .endpoint("openai", &openai.url())
            .endpoint_with("mistral", &mistral.url(), "provider: mistral")
            .endpoint("own_gpus", &own_gpus.url())
            .policy("small-chat", policy)
            .start();
        Self {
            openai,
            mistral,
            own_gpus,
            gateway,
        }
    }

    fn counts(&self) -> [usize; 3] {
        [&self.openai, &self.mistral, &self.own_gpus].map(Upstream::count)
    }

    /// Eight requests; the failovers that the answers tell of, most frequent first.
    async fn ask_eight_times(&self) -> Vec<(String, usize)> {
        let client = self.gateway.client();
        let mut seen: Vec<(String, usize)> = Vec::new();
        for _ in 0..8 {
            let answer = client.post(CHAT, question("small")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let failover = answer.header("x-standin-failover").unwrap_or_default();
            match seen.iter_mut().find(|(known, _)| known == failover) {
                Some((_, count)) => *count += 1,
                None => seen.push((failover.to_owned(), 1)),
            }
        }
        seen.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        seen
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_choice_falls_by_weight() {
    let stage = SmallChat::start().await;
    assert_eq!(stage.ask_eight_times().await, [(String::new(), 8)]);
    assert_eq!(stage.counts(), [6, 2, 0]);
    assert_eq!(stage.openai.count_for("gpt-4o-mini"), 6);
    assert_eq!(stage.mistral.count_for("mistral-small-latest"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_the_set_are_the_first_fallbacks() {
    let stage = SmallChat::start().await;
    stage.openai.always(Reply::status(503));
    let seen = stage.ask_eight_times().await;
    assert_eq!(
        seen,
        [("openai/gpt-4o-mini=503".to_owned(), 6), (String::new(), 2)]
    );
    assert_eq!(stage.counts(), [6, 8, 0]);

    let stage = SmallChat::start().await;
    stage.openai.always(Reply::status(503));
    stage.mistral.always(Reply::status(429));
    let (openai, mistral) = ("openai/gpt-4o-mini=503", "mistral/mistral-small-latest=429");
    let seen = stage.ask_eight_times().await;
    let expected = [
        (format!("{openai}, {mistral}"), 6),
        (format!("{mistral}, {openai}"), 2),
    ];
    assert_eq!(seen, expected);
    assert_eq!(stage.counts(), [8, 8, 8]);
}
