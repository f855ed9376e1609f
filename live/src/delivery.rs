//! Delivers the messages of one rule in a thread of its own, so that neither a scan nor another rule waits for a receiver.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Receiver as Inbox, RecvTimeoutError, Sender, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use stockscan_engine::Result;

use crate::{Attempt, Event, Ledger, Message, Receiver, Verdict, watch::jittered};

/// So many messages wait in memory; further ones wait in the record.
const ROOM: u16 = 256;
/// It looks at least so often whether it is to end.
const IDLE: Duration = Duration::from_secs(1);
/// A receiver is not waited for longer than this, whatever it says.
const LONGEST_WISH: Duration = Duration::from_secs(3600);

/// How attempts follow each other.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The wait after the first one; each further one is twice as long.
    pub first: Duration,
    /// No wait is longer.
    pub longest: Duration,
    /// So many attempts, then it is given up.
    pub attempts: u32,
}

impl Default for Backoff {
    /// Ten attempts within about ten minutes.
    fn default() -> Backoff {
        Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(300), attempts: 10 }
    }
}

impl Backoff {
    fn after(&self, attempt: u32, wish: Option<Duration>) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1))).min(self.longest);
        jittered(doubled).max(wish.unwrap_or_default().min(LONGEST_WISH))
    }
}

/// The thread's other end.
#[derive(Debug)]
pub(crate) struct Delivery {
    inbox: SyncSender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Messages are in the record that had no room here.
    has_more: AtomicBool,
    /// Messages that this run has not tried to send yet.
    untried: AtomicUsize,
}

impl Delivery {
    /// Starts with what an earlier run did not finish.
    pub(crate) fn start(
        rule: String,
        receiver: Receiver,
        ledger: Arc<Mutex<Ledger>>,
        backoff: Backoff,
        events: Sender<Event>,
    ) -> Result<Delivery> {
        let (inbox, messages) = mpsc::sync_channel(usize::from(ROOM));
        let shared = Arc::new(Shared::default());
        let mut worker = Worker {
            rule,
            receiver,
            ledger,
            backoff,
            events,
            shared: shared.clone(),
            queue: BTreeMap::new(),
            ended: HashSet::new(),
            count: 0,
        };
        worker.take_up()?;
        thread::spawn(move || worker.run(&messages));
        Ok(Delivery { inbox, shared })
    }

    /// Hands over a message, which is recorded already.
    pub(crate) fn send(&self, message: Message) {
        self.shared.untried.fetch_add(1, Ordering::SeqCst);
        if self.inbox.try_send(message).is_err() {
            self.shared.has_more.store(true, Ordering::SeqCst);
            self.shared.untried.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether every message has been tried at least once.
    pub(crate) fn is_idle(&self) -> bool {
        // In this order: what is taken up is counted before it is no longer said to be there.
        !self.shared.has_more.load(Ordering::SeqCst) && self.shared.untried.load(Ordering::SeqCst) == 0
    }
}

struct Worker {
    rule: String,
    receiver: Receiver,
    ledger: Arc<Mutex<Ledger>>,
    backoff: Backoff,
    events: Sender<Event>,
    shared: Arc<Shared>,
    /// By when they are due, those of the same moment in their order.
    queue: BTreeMap<(Instant, u64), Waiting>,
    /// Messages with which nothing more is to be done. One that was taken up from the record may be handed over afterwards.
    ended: HashSet<String>,
    count: u64,
}

struct Waiting {
    message: Message,
    is_untried: bool,
}

impl Worker {
    /// Until nobody can hand over any more.
    fn run(mut self, messages: &Inbox<Message>) {
        loop {
            let now = Instant::now();
            let next = self.queue.first_key_value().map(|((due, _), _)| due.saturating_duration_since(now));
            if next.is_none_or(|wait| !wait.is_zero()) && self.queue.len() < usize::from(ROOM) {
                // So that at no moment it looks as if there were nothing to do.
                self.shared.untried.fetch_add(1, Ordering::SeqCst);
                if self.shared.has_more.swap(false, Ordering::SeqCst)
                    && let Err(error) = self.take_up()
                {
                    self.shared.has_more.store(true, Ordering::SeqCst);
                    self.tell(Event::NotRecorded(error));
                }
                self.shared.untried.fetch_sub(1, Ordering::SeqCst);
            }
            let next = self.queue.first_key_value().map(|((due, _), _)| due.saturating_duration_since(now));
            // What has come goes before what is due, so that nothing that came both ways is sent twice.
            match messages.recv_timeout(next.unwrap_or(IDLE).min(IDLE)) {
                Ok(message) => {
                    if !self.add(message, Duration::ZERO, true) {
                        self.shared.untried.fetch_sub(1, Ordering::SeqCst);
                    }
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= Instant::now()) {
                let waiting = entry.remove();
                self.deliver(waiting);
            }
        }
    }

    fn deliver(&mut self, Waiting { message, is_untried }: Waiting) {
        let answer = self.receiver.post(&message.id, &message.body);
        let number = message.attempts + 1;
        let is_given_up = matches!(answer.verdict, Verdict::Later(_)) && number >= self.backoff.attempts;
        let attempt = Attempt { message, number, answer, is_given_up };
        let recorded = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).attempted(&attempt);
        if let Err(error) = recorded {
            self.tell(Event::NotRecorded(error));
        }
        self.tell(Event::Attempted(attempt.clone()));
        if let (Verdict::Later(wish), false) = (attempt.answer.verdict, is_given_up) {
            let wait = self.backoff.after(number, wish);
            self.add(Message { attempts: number, ..attempt.message }, wait, false);
        } else {
            self.ended.insert(attempt.message.id);
        }
        if is_untried {
            self.shared.untried.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Takes messages up from the record.
    fn take_up(&mut self) -> Result<()> {
        let pending = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).pending(&self.rule, u32::from(ROOM))?;
        let is_full = pending.len() == usize::from(ROOM);
        let mut added = 0;
        for message in pending {
            added += usize::from(self.add(message, Duration::ZERO, true));
        }
        self.shared.untried.fetch_add(added, Ordering::SeqCst);
        if is_full && added > 0 {
            self.shared.has_more.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Puts a message in its place, unless it is there or has been.
    fn add(&mut self, message: Message, wait: Duration, is_untried: bool) -> bool {
        if self.ended.contains(&message.id) || self.queue.values().any(|other| other.message.id == message.id) {
            return false;
        }
        self.count += 1;
        self.queue.insert((Instant::now() + wait, self.count), Waiting { message, is_untried });
        true
    }

    fn tell(&self, event: Event) {
        // At the end nobody listens any more.
        let _ = self.events.send(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_obey_the_receiver() {
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60), attempts: 10 };
        for (attempt, longest) in [(1, 1), (2, 2), (3, 4), (7, 60), (1000, 60)] {
            let wait = backoff.after(attempt, None);
            let longest = Duration::from_secs(longest);
            assert!(longest / 2 <= wait && wait <= longest, "{attempt}: {wait:?}");
        }
        assert!(backoff.after(1, Some(Duration::from_secs(30))) >= Duration::from_secs(30), "Retry-After counts");
        assert!(backoff.after(1, Some(Duration::from_secs(1_000_000))) <= LONGEST_WISH, "but not for ever");
    }
}
