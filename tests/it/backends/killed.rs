//! A backend that is killed and brought back under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{CHAT, backends, question, questions, setup, upstreams, wait_healthy};
use crate::support::within;

/// Every one of many requests is answered: what breaks under way is tried again, what can't connect
/// goes elsewhere, and what checks have found is left out.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails() {
    for balance in ["round_robin", "random", "least_busy"] {
        let [mut a, b] = upstreams().await;
        // The one that lives is not to be taken for dead where the machine is slow.
        let check = "interval: 200ms, timeout: 200ms, unhealthy_after: 3, slow_start: 200ms";
        let fields = format!(
            "{}balance: {balance}\nhealth_check: {{{check}}}",
            backends(&[&a, &b], &[1, 1])
        );
        let policy = "retries: 2\nretry_backoff: {base: 1ms, max: 2ms}";
        let gateway = setup(&fields, policy).start();
        let over = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..6)
            .map(|_| {
                let (over, answered) = (over.clone(), answered.clone());
                let client = gateway.client();
                tokio::spawn(async move {
                    while !over.load(Ordering::Relaxed) {
                        let answer = client.post(CHAT, question()).await;
                        assert_eq!(answer.status, 200, "{answer:?}");
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            let before = questions(&a);
            within("questions at the backend", async {
                while questions(&a) < before + 20 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            a.go_down().await;
            wait_healthy(&gateway, &a, false).await;
            let before = answered.load(Ordering::Relaxed);
            within("answers by the other", async {
                while answered.load(Ordering::Relaxed) < before + 20 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            a.come_back();
            wait_healthy(&gateway, &a, true).await;
        }
        over.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.await.unwrap();
        }
        // A connection that is cut while its request is read is what was asked for.
        a.take_faults();
    }
}
