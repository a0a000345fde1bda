//! A disk that is full to the last segment: mail is refused, outcomes are written all the same, and what is dead makes
//! room for mail again, though live messages stand between the dead ones and no segment more can be made.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use posthaste::base::{MessageId, ShardId};
use posthaste::spool::sim::{Crash, Random, SimDisk};
use posthaste::spool::storage::Storage as _;
use posthaste::spool::{CommitError, Durability, Record, RecoveryEvent, Settings, Spool};

use super::common::{body, deferred, delivered, message};

/// Messages after which a full disk has said so, whatever their sizes.
const MESSAGES_MAX: usize = 2000;
/// What takes longer than this on an idle machine does not happen at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nobody ships what happens: all that is dead can go.
fn settings() -> Settings {
    Settings { shippers: Vec::new(), ..super::settings(0) }
}

/// What was acknowledged and is not over, with its number of recipients.
type Alive = BTreeMap<MessageId, u32>;

struct Full {
    disk: SimDisk,
    spool: Spool<SimDisk>,
    random: Random,
}

impl Full {
    async fn within<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        let late = async {
            self.disk.sleep(PATIENCE).await;
            None
        };
        let done = futures_lite::future::or(async { Some(future.await) }, late).await;
        done.unwrap_or_else(|| panic!("{what}: {}", self.spool.describe()))
    }

    async fn offer(&mut self) -> Result<(MessageId, u32), CommitError> {
        let (id, recipients) = (self.spool.new_id(), 1 + self.random.below(4) as u32);
        let body = body(self.random.next(), self.random.below(9000) as usize);
        let durability = if self.random.one_in(4) { Durability::Process } else { Durability::Durable };
        let record = Record::Message(message(id, recipients, "a.test", body));
        let commit = self.spool.commit(vec![record], durability);
        self.within("mail is neither taken nor refused", commit).await.map(|()| (id, recipients))
    }

    async fn say(&self, record: Record) {
        let written = self.within("an outcome waits for ever", self.spool.commit(vec![record], Durability::Durable));
        assert_eq!(written.await, Ok(()), "outcomes are never refused");
    }

    /// Mail until there is no more room for it.
    async fn fill(&mut self, alive: &mut Alive) {
        for _ in 0..MESSAGES_MAX {
            match self.offer().await {
                Ok((id, recipients)) => {
                    alive.insert(id, recipients);
                }
                Err(error) => return assert_eq!(error, CommitError::Full),
            }
        }
        panic!("mail is taken for ever: {}", self.spool.describe());
    }

    /// Three of four end; of the others some are put off. One after the other, so that each takes a batch of its own.
    async fn deliver(&mut self, alive: &mut Alive) {
        for (id, recipients) in alive.clone() {
            match self.random.below(8) {
                0 => self.say(deferred(id, 0, 5_000, 1)).await,
                1 => {}
                _ => {
                    for recipient in 0..recipients {
                        self.say(delivered(id, recipient)).await;
                    }
                    alive.remove(&id);
                }
            }
        }
    }

    /// What is dead makes room, with nobody's help.
    async fn taken_again(&mut self, alive: &mut Alive) {
        let until = self.disk.now() + PATIENCE;
        loop {
            match self.offer().await {
                Ok((id, recipients)) => {
                    alive.insert(id, recipients);
                    return;
                }
                Err(error) => assert_eq!(error, CommitError::Full),
            }
            assert!(self.disk.now() < until, "mail is never taken again: {}", self.spool.describe());
            self.disk.sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn opened(disk: &SimDisk) -> (Spool<SimDisk>, Alive) {
    let (spool, mut recovery) = Spool::open(disk.clone(), settings(), ShardId(0), 1).await.expect("a disk that works");
    let mut found = Alive::new();
    while let Some(event) = recovery.next().await {
        if let RecoveryEvent::Messages(batch) = event {
            found.extend(batch.iter().map(|one| (one.id, one.recipients_total)));
        }
    }
    (spool, found)
}

/// One story: full, delivered, taken again, and again; what is alive outlives the power.
pub fn tell(seed: u64) {
    let mut random = Random::new(seed);
    let disk = SimDisk::new(seed, 64 << 20);
    let segments = random.below(6);
    let kept = disk.run(async {
        let (spool, _) = opened(&disk).await;
        disk.sleep(Duration::from_secs(5)).await; // what is made ahead is made
        let room = segments * settings().segment_size + settings().free_space_min;
        disk.set_space(disk.used() + room + random.below(settings().segment_size / 2));
        let mut full = Full { disk: disk.clone(), spool, random };
        let mut alive = Alive::new();
        for _ in 0..3 {
            full.fill(&mut alive).await;
            full.deliver(&mut alive).await;
            full.taken_again(&mut alive).await;
        }
        disk.sleep(Duration::from_secs(5)).await; // mode `process` is synced in the background
        alive
    });
    let disk = disk.restart(Crash::PowerLoss);
    disk.set_space(64 << 20);
    let found = disk.run(async { opened(&disk).await.1 });
    assert_eq!(found, kept, "what is alive is there, and nothing else");
}
