//! Calls to an agent that are lost, answered in vain, made twice, or arrive late.
//!
//! The network below can lose and hold bytes; what became of a single call is decided here, on
//! top of the real link. A late one arrives after others that were made later, over whatever
//! connection there is then.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use banger_proto::ids::VmId;
use banger_server::fleet::certificates::CertificateLink;
use banger_server::fleet::guests::GuestLink;
use banger_server::fleet::link::{
    AgentLink, Command, Delivery, Dialer, ImageContent, ImageToPut, LinkError, Observations,
};
use banger_server::model::host::HostRecord;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    Arrives,
    Lost,
    AnswerLost,
    Twice,
    Late(Duration),
    /// It arrives, and a copy of it later.
    Again(Duration),
}

/// Decides about calls, from a seed or as told.
#[derive(Debug)]
pub(super) struct Chaos(Mutex<State>);

#[derive(Debug)]
struct State {
    random: SmallRng,
    /// Of a hundred calls, how many do not simply arrive.
    share: u32,
    /// For the next calls, before chance decides.
    told: Vec<Fate>,
    met: Vec<Fate>,
}

impl Chaos {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let random = SmallRng::seed_from_u64(seed);
        let state = State { random, share: 0, told: Vec::new(), met: Vec::new() };
        Arc::new(Self(Mutex::new(state)))
    }

    pub(super) fn set_share(&self, share: u32) {
        self.0.lock().share = share;
    }

    /// The next call meets this.
    pub(super) fn next(&self, fate: Fate) {
        self.0.lock().told.push(fate);
    }

    /// What calls have met so far, but for those that simply arrived.
    pub(super) fn met(&self) -> Vec<Fate> {
        self.0.lock().met.clone()
    }

    fn decide(&self) -> Fate {
        let mut state = self.0.lock();
        let fate = if !state.told.is_empty() {
            state.told.remove(0)
        } else if state.random.random_range(0..100) >= state.share {
            Fate::Arrives
        } else {
            let by = Duration::from_millis(state.random.random_range(10..20_000));
            match state.random.random_range(0..6) {
                0 => Fate::Lost,
                1 => Fate::AnswerLost,
                2 => Fate::Twice,
                3 => Fate::Again(by),
                _ => Fate::Late(by),
            }
        };
        if fate != Fate::Arrives {
            state.met.push(fate);
        }
        fate
    }
}

/// A dialer whose links are struck.
#[derive(Debug)]
pub(super) struct ChaosDialer<D> {
    pub(super) inner: D,
    pub(super) chaos: Arc<Chaos>,
}

impl<D: Dialer> Dialer for ChaosDialer<D> {
    fn link(&self, host: &HostRecord) -> Result<Arc<dyn AgentLink>, LinkError> {
        let link = ChaosLink {
            address: host.agent_address.clone(),
            inner: self.inner.link(host)?,
            chaos: Arc::clone(&self.chaos),
        };
        Ok(Arc::new(link))
    }
}

#[derive(Debug)]
struct ChaosLink {
    address: String,
    inner: Arc<dyn AgentLink>,
    chaos: Arc<Chaos>,
}

impl ChaosLink {
    fn send_later(&self, commands: &[Command], by: Duration) {
        let (inner, commands) = (Arc::clone(&self.inner), commands.to_vec());
        tokio::spawn(async move {
            tokio::time::sleep(by).await;
            // Until there is a connection again: late is not lost.
            while let Err(LinkError::Unreachable { .. }) = inner.send(&commands).await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
}

#[async_trait]
impl AgentLink for ChaosLink {
    async fn send(&self, commands: &[Command]) -> Result<Vec<(VmId, Delivery)>, LinkError> {
        let address = self.address.clone();
        let unknown = |message: &str| {
            Err(LinkError::OutcomeUnknown { address: address.clone(), message: message.to_owned() })
        };
        match self.chaos.decide() {
            Fate::Arrives => self.inner.send(commands).await,
            Fate::Lost => unknown("lost on the way"),
            Fate::AnswerLost => {
                let _ = self.inner.send(commands).await;
                unknown("the answer was lost")
            }
            Fate::Twice => {
                let first = self.inner.send(commands).await;
                let _ = self.inner.send(commands).await;
                first
            }
            Fate::Again(by) => {
                self.send_later(commands, by);
                self.inner.send(commands).await
            }
            Fate::Late(by) => {
                self.send_later(commands, by);
                unknown("held up on the way")
            }
        }
    }

    async fn observe(&self) -> Result<Observations, LinkError> {
        self.inner.observe().await
    }

    async fn put_image(&self, image: &ImageToPut, content: ImageContent) -> Result<(), LinkError> {
        self.inner.put_image(image, content).await
    }

    async fn remove_image(&self, sha256: &str) -> Result<(), LinkError> {
        self.inner.remove_image(sha256).await
    }

    fn follow(&self, host: &Arc<HostRecord>) {
        self.inner.follow(host);
    }

    fn certificates(self: Arc<Self>) -> Option<Arc<dyn CertificateLink>> {
        Arc::clone(&self.inner).certificates()
    }

    fn guests(self: Arc<Self>) -> Option<Arc<dyn GuestLink>> {
        Arc::clone(&self.inner).guests()
    }
}
