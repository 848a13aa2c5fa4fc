//! HTTP/2: streams and connections.

use super::{CHAT, ask, h2_pair};
use crate::support::{Ending, NoAnswer, Reply, Step};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_reset_with_its_reason_and_the_connection_lives() {
    let (up, client) = h2_pair().await;
    up.push(Reply::refuse_stream());
    up.push(
        Reply::chat_stream("m", &["a"])
            .before_write(2, Step::ResetStream(h2::Reason::INTERNAL_ERROR)),
    );
    up.push(Reply::chat("m", "x"));
    let refused = client.post(CHAT, ask("m")).try_send().await;
    let Err(NoAnswer::Stream(error)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(error.reason(), Some(h2::Reason::REFUSED_STREAM));

    let broken = client.post(CHAT, ask("m")).await;
    assert!(
        broken.reset && !broken.complete && !broken.closed,
        "{broken:?}"
    );
    assert_eq!(broken.events().len(), 2);
    assert_eq!(up.wait_ended(1).await.0, Ending::Cut);

    assert_eq!(client.post(CHAT, ask("m")).await.content(), "x");
    assert_eq!(up.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_all_its_streams() {
    for end in [Step::Close, Step::Reset] {
        let (up, client) = h2_pair().await;
        up.on_model("waits", Reply::hang());
        up.on_model("ends", Reply::script([end]));
        up.on_model("lives", Reply::status(200));
        let waits = tokio::spawn(client.post(CHAT, ask("waits")).try_send());
        up.wait_for_requests(1).await;
        client.post(CHAT, ask("ends")).try_send().await.unwrap_err();
        waits.await.unwrap().unwrap_err();
        for request in [0, 1] {
            assert_eq!(up.wait_ended(request).await.0, Ending::Cut);
        }
        assert_eq!(client.post(CHAT, ask("lives")).await.status, 200);
        assert_eq!(up.connections(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_go_away_on_demand() {
    let (up, client) = h2_pair().await;
    up.always(Reply::status(200));
    for round in 1..=10 {
        client.get("/").await;
        assert_eq!(up.close_idle().await, 1);
        client.get("/").await;
        assert_eq!(up.reset_idle().await, 1);
        assert_eq!(up.connections(), 2 * round);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_under_way_survives_that_idle_connections_close() {
    let (up, client) = h2_pair().await;
    up.on_model("slow", Reply::chat("slow", "x").held("slow"));
    up.on_model("quick", Reply::status(200));
    let slow = tokio::spawn(client.post(CHAT, ask("slow")).into_future());
    up.wait_for_requests(1).await;
    let other = crate::support::Client::h2c(up.addr());
    other.post(CHAT, ask("quick")).await;
    assert_eq!(up.close_idle().await, 1);
    up.open("slow");
    assert_eq!(slow.await.unwrap().content(), "x");
    assert_eq!(up.open_connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_reply_does_not_wait_for_the_body() {
    let (up, client) = h2_pair().await;
    up.push(Reply::status(413).before_body());
    let response = client.post("/", vec![b'x'; 4 << 20]).await;
    assert_eq!((response.status, response.complete), (413, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_before_the_head_or_in_its_request() {
    let (up, client) = h2_pair().await;
    up.always(Reply::hang());
    let asked = tokio::spawn(client.post(CHAT, ask("m")).try_send());
    up.wait_for_requests(1).await;
    asked.abort();
    up.wait_cancelled(0).await;
    assert_eq!(up.open_connections(), 1, "only the stream was cancelled");
}
