//! Through Redis.

use std::pin::pin;
use std::time::{Duration, Instant};

use super::server::{Redis, Way, answering};
use super::{
    pair, resume, served_by, setup, standing, suspend, until, until_healthy, until_suspended,
    upstream,
};
use crate::support::tls::server_config;
use crate::support::{self, Authority, Certificate, Gateway, KEY, Reply, within};
use standin::gateway::suspension::Standing;
use standin::policy::Environment;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const MINUTE: Duration = Duration::from_secs(60);

/// Each has heard the other, and with it what was known before. How the first target stands in
/// production is left as it is.
async fn connected(one: &Gateway, other: &Gateway) {
    let sandbox = pair(Environment::Sandbox);
    let of = |gateway: &Gateway| gateway.running.gateway.suspensions().resolve(&sandbox);
    let stands = |gateway: &Gateway| of(gateway).standing(Instant::now());
    let now = Instant::now();
    of(one).suspend(now, now + MINUTE, "by hand");
    let heard = || stands(other).is_suspended();
    support::until("the one to be heard", heard).await;
    of(other).resume();
    let heard = || stands(one) == Standing::Healthy;
    support::until("the other to be heard", heard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_at_one_is_left_out_by_all() {
    let (upstream, redis) = (upstream().await, Redis::start().await);
    let start = || setup(&upstream, &redis.fields(), "60s").start();
    let (one, other) = (start(), start());
    connected(&one, &other).await;
    served_by(&one, "second").await;
    let failed = Instant::now();
    until_suspended(&other).await;
    assert!(
        failed.elapsed() < Duration::from_secs(1),
        "{:?}",
        failed.elapsed()
    );
    let asked = upstream.count_for("first");
    served_by(&other, "second").await;
    assert_eq!(upstream.count_for("first"), asked, "it is passed by");
    let suspensions = other.running.gateway.suspensions();
    let list = suspensions.list(Instant::now());
    assert_eq!(list.len(), 1, "the sandbox and the second target are well");
    assert_eq!(&*list[0].1.reason, "500");
    let left = list[0].1.until - Instant::now();
    assert!(
        left > MINUTE / 2 && left <= MINUTE + Duration::from_secs(1),
        "{left:?}"
    );

    // An instance that starts later, all others gone.
    drop((one, other));
    let next = start();
    until_suspended(&next).await;
    // Another prefix is another gateway.
    let fields = format!("redis: {{url: {:?}, prefix: other}}", redis.url());
    let start = || setup(&upstream, &fields, "60s").start();
    let (stranger, another) = (start(), start());
    connected(&stranger, &another).await;
    assert_eq!(standing(&stranger), Standing::Healthy);
    resume(&stranger);
    // More than what their ideas of Redis's clock may differ by: what comes now is news.
    redis.clock_moves(Duration::from_millis(200)).await;
    connected(&stranger, &another).await;
    assert!(standing(&next).is_suspended());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_succeeds_ends_it_for_all() {
    let (upstream, redis) = (upstream().await, Redis::start().await);
    let start = || setup(&upstream, &redis.fields(), "300ms").start();
    let (one, other) = (start(), start());
    connected(&one, &other).await;
    served_by(&one, "second").await;
    until(&one, "the end", |standing| standing == Standing::Ended).await;
    upstream.on_model("first", Reply::chat("first", "Hello"));
    served_by(&one, "first").await;
    until_healthy(&other).await;
    assert_eq!(standing(&one), Standing::Healthy);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_goes_by_what_it_sees_and_tells_it_later() {
    let (upstream, mut redis) = (upstream().await, Redis::start().await);
    let fields = redis.fields();
    let start = || setup(&upstream, &fields, "60s").start();
    let (one, other) = (start(), start());
    connected(&one, &other).await;
    redis.kill();
    served_by(&one, "second").await;
    assert!(standing(&one).is_suspended());
    served_by(&other, "second").await;
    resume(&other);
    assert_eq!(standing(&other), Standing::Healthy);
    served_by(&other, "second").await;
    // One that starts meanwhile serves as well.
    let third = start();
    served_by(&third, "second").await;
    drop(third);
    resume(&other);
    suspend(&other, MINUTE);

    redis.restart().await;
    let last = setup(&upstream, &redis.fields(), "60s").start();
    until_suspended(&last).await;
    assert!(standing(&one).is_suspended() && standing(&other).is_suspended());
    resume(&last);
    until_healthy(&one).await;
    until_healthy(&other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_does_not_answer_delays_nobody() {
    let (upstream, redis) = (upstream().await, Redis::start().await);
    let way = Way::to(&redis).await;
    let one = setup(&upstream, &way.fields(), "60s").start();
    let other = setup(&upstream, &redis.fields(), "60s").start();
    connected(&one, &other).await;
    redis.signal("STOP");
    // As long as it takes to notice, and to try again in vain.
    let mut in_vain = pin!(async {
        way.another_try().await;
        way.another_try().await;
    });
    let mut asked = 0;
    while futures_util::poll!(&mut in_vain).is_pending() {
        let begun = Instant::now();
        served_by(&one, "second").await;
        resume(&one);
        // A request that waited for Redis would wait for a second at least.
        assert!(
            begun.elapsed() < Duration::from_millis(900),
            "{:?}",
            begun.elapsed()
        );
        asked += 1;
    }
    assert!(asked > 10);
    // Redis finds words that have waited: that it is healthy, and then that it is suspended. None
    // of them is younger than it was.
    resume(&one);
    way.another_try().await;
    served_by(&one, "second").await;
    way.another_try().await;
    assert_eq!(standing(&other), Standing::Healthy);
    redis.signal("CONT");
    until_suspended(&other).await;
    assert!(standing(&one).is_suspended());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_word_from_before_undoes_nothing() {
    let (upstream, redis) = (upstream().await, Redis::start().await);
    let way = Way::to(&redis).await;
    let one = setup(&upstream, &redis.fields(), "60s").start();
    let cut_off = setup(&upstream, &way.fields(), "60s").start();
    connected(&one, &cut_off).await;

    way.set_open(false);
    served_by(&cut_off, "second").await;
    assert!(standing(&cut_off).is_suspended());
    // So that it is before by both clocks.
    redis.clock_moves(Duration::from_millis(20)).await;
    suspend(&one, MINUTE);
    resume(&one);
    // What Redis knows once another one has it.
    let witness = setup(&upstream, &redis.fields(), "60s").start();
    connected(&one, &witness).await;
    way.set_open(true);
    until_healthy(&cut_off).await;
    assert_eq!(standing(&one), Standing::Healthy);
    assert_eq!(standing(&witness), Standing::Healthy);

    // And a failure from after it stays.
    way.set_open(false);
    resume(&one);
    redis.clock_moves(Duration::from_millis(20)).await;
    served_by(&cut_off, "second").await;
    way.set_open(true);
    until_suspended(&one).await;
    assert!(standing(&cut_off).is_suspended());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_redis_changes_nothing() {
    let upstream = upstream().await;
    for bytes in [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(),
        b"+OK\r\n",
        b"*-7\r\n",
        b"$99999999999\r\nx",
        b"-ERR unknown command\r\n",
        b"\x00\xff\xfe",
    ] {
        let (url, mut connections) = answering(bytes).await;
        let fields = format!("redis: {{url: {url:?}}}");
        let gateway = setup(&upstream, &fields, "60s").start();
        within("two tries", connections.wait_for(|&count| count >= 2))
            .await
            .unwrap();
        served_by(&gateway, "second").await;
        assert!(standing(&gateway).is_suspended());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_tls_with_an_authority_of_one_s_own() {
    let authority = Authority::new();
    let (_redis, fields) = Redis::start_with_tls(&authority).await;
    let upstream = upstream().await;
    let start = || setup(&upstream, &fields, "60s").start();
    let (one, other) = (start(), start());
    connected(&one, &other).await;
    served_by(&one, "second").await;
    until_suspended(&other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_a_certificate_of_somebody_else_is_told_nothing() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rediss://{}", listener.local_addr().unwrap());
    let fields = format!("redis: {{url: {url:?}, ca: {ca:?}}}");
    let upstream = upstream().await;
    let gateway = setup(&upstream, &fields, "60s").start();
    for wrong in [Certificate::OtherHost, Certificate::SelfSigned] {
        let server = server_config(&authority.issue(wrong), &[], None);
        let (stream, _) = within("a try", listener.accept()).await.unwrap();
        let shaken = within("it to be refused", TlsAcceptor::from(server).accept(stream)).await;
        assert!(shaken.is_err(), "{wrong:?}");
    }
    served_by(&gateway, "second").await;
    assert!(standing(&gateway).is_suspended());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_opens_it() {
    let password = support::secret("redis");
    let redis = Redis::start_with(&["--requirepass", &password]).await;
    let upstream = upstream().await;
    let fields = format!(
        "redis: {{url: {:?}, password: {{env: redis}}}}",
        redis.url()
    );
    let start = |fields: &str| setup(&upstream, fields, "60s").start();
    let (one, other) = (start(&fields), start(&fields));
    connected(&one, &other).await;
    let without = start(&redis.fields());
    suspend(&one, MINUTE);
    until_suspended(&other).await;
    let answer = without.client().key(KEY).get("/v1/unknown").await;
    assert_eq!(answer.status, 404);
    assert_eq!(standing(&without), Standing::Healthy, "it is not let in");
}
