//! Which reply a request gets.
//!
//! The first source that has one for it: the queue (each of its replies is used once), the script
//! of its path, the script of its model, the reply for all others. In a script the last reply
//! repeats. A request that none of them answers is a fault of the test and said so.

use std::collections::VecDeque;
use std::sync::Arc;

use super::record::Received;
use super::reply::{Reply, Timing};

/// One reply, or several in order, the last of which repeats.
pub struct Replies(VecDeque<Reply>);

impl From<Reply> for Replies {
    fn from(reply: Reply) -> Self {
        Self(VecDeque::from([reply]))
    }
}

impl<const N: usize> From<[Reply; N]> for Replies {
    fn from(replies: [Reply; N]) -> Self {
        Self(VecDeque::from(replies))
    }
}

impl From<Vec<Reply>> for Replies {
    fn from(replies: Vec<Reply>) -> Self {
        Self(VecDeque::from(replies))
    }
}

type Answer = Arc<dyn Fn(&Received) -> Reply + Send + Sync>;

/// All scripts of one upstream.
#[derive(Default)]
pub(super) struct Scripts {
    queue: VecDeque<Reply>,
    paths: Vec<(String, Replies)>,
    models: Vec<(String, Replies)>,
    others: Option<Replies>,
    answer: Option<Answer>,
}

/// What a request is answered with.
pub(super) enum Chosen {
    Reply(Reply),
    /// Made from the request.
    Answer(Answer),
}

impl Scripts {
    pub(super) fn push(&mut self, reply: Reply) {
        self.queue.push_back(reply);
    }

    pub(super) fn on_path(&mut self, path: &str, replies: Replies) {
        self.paths.retain(|(scripted, _)| scripted != path);
        self.paths.push((path.to_owned(), replies));
    }

    pub(super) fn on_model(&mut self, model: &str, replies: Replies) {
        let wait_for_the_body = |reply: &Reply| reply.timing == Timing::AfterRequest;
        assert!(
            replies.0.iter().all(wait_for_the_body),
            "a reply that does not wait for the body can't depend on the model in it"
        );
        self.models.retain(|(scripted, _)| scripted != model);
        self.models.push((model.to_owned(), replies));
    }

    pub(super) fn always(&mut self, replies: Replies) {
        self.others = Some(replies);
    }

    pub(super) fn answer_with(&mut self, answer: Answer) {
        self.answer = Some(answer);
    }

    /// What a new connection gets at once, if anything.
    pub(super) fn on_connect(&mut self) -> Option<Reply> {
        let is_ours = |reply: &Reply| reply.timing == Timing::OnConnect;
        if self.queue.front().is_some_and(is_ours) {
            return self.queue.pop_front();
        }
        let others = self.others.as_mut()?;
        others.next(is_ours).filter(is_ours)
    }

    /// The reply that does not wait for the body of the request to `path`, if it has one.
    pub(super) fn after_head(&mut self, path: &str, reused: bool) -> Option<Reply> {
        let applies = |reply: &Reply| applies(reply, reused);
        let is_ours = |reply: &Reply| reply.timing == Timing::AfterHead;
        if let Some(place) = self.queue.iter().position(applies) {
            return match is_ours(&self.queue[place]) {
                true => self.queue.remove(place),
                false => None,
            };
        }
        let of_path = find(&mut self.paths, path);
        let replies = of_path.or(self.others.as_mut())?;
        match replies.0.iter().find(|reply| applies(reply)) {
            Some(reply) if is_ours(reply) => replies.next(applies),
            _ => None,
        }
    }

    /// The reply to a whole request.
    pub(super) fn after_request(&mut self, request: &Received, reused: bool) -> Option<Chosen> {
        let applies = |reply: &Reply| applies(reply, reused);
        if let Some(place) = self.queue.iter().position(applies) {
            return self.queue.remove(place).map(Chosen::Reply);
        }
        // A long body takes its time to be read as JSON.
        let model = match self.models.is_empty() {
            true => None,
            false => request.model(),
        };
        let of_path = find(&mut self.paths, request.path());
        let of_model = model.and_then(|model| find(&mut self.models, &model));
        let sources = [of_path, of_model, self.others.as_mut()];
        let reply = sources
            .into_iter()
            .flatten()
            .find_map(|replies| replies.next(applies));
        reply
            .map(Chosen::Reply)
            .or_else(|| self.answer.clone().map(Chosen::Answer))
    }
}

fn applies(reply: &Reply, reused: bool) -> bool {
    reply.timing != Timing::OnConnect && (reused || !reply.if_reused)
}

fn find<'a>(scripts: &'a mut [(String, Replies)], key: &str) -> Option<&'a mut Replies> {
    let mut scripts = scripts.iter_mut();
    let (_, replies) = scripts.find(|(scripted, _)| scripted == key)?;
    Some(replies)
}

impl Replies {
    /// The first reply that `applies`; it is used up unless it is the last.
    fn next(&mut self, applies: impl Fn(&Reply) -> bool) -> Option<Reply> {
        let place = self.0.iter().position(applies)?;
        match place + 1 == self.0.len() {
            true => self.0.back().cloned(),
            false => self.0.remove(place),
        }
    }
}
