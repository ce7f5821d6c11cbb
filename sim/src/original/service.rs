//! What the original's process has once (§1): a session, a private network, and one bus on which
//! everything that happens is handled one after the other.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::Ipv4Addr,
    rc::Rc,
};

use ray_on_golem::{
    core::{market::offer::Offer, reputation::Reputation},
    units::{Span, Timestamp},
    yagna::{
        ActivityId, AgreementId, DebitNote, Deployment, Invoice, NetworkId, NetworkPath,
        PlatformId, ProviderId, Request, Response, SessionId, Status,
    },
};

use super::{MISMATCH, payment::Payments, sync::Queue, world::World};
use crate::{meter::Meter, yagna::Refusal};

/// How long the daemon waits for a provider where the original does not say.
pub(super) const PROVIDER_TIMEOUT: Span = Span::secs(5);
/// Tries to end an agreement, with pauses of 2, 4, 8, and 16 seconds (§7).
const CLOSE_TRIES: u32 = 4;

const NETWORK: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 0);
const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 0, 0);
/// The requestor has two addresses (§1).
const FIRST_NODE: u32 = Ipv4Addr::new(192, 168, 0, 3).to_bits();

/// What the process has once.
pub(super) struct Service {
    pub(super) world: Rc<World>,
    pub(super) session: SessionId,
    pub(super) platform: PlatformId,
    /// What the reputation service says of providers.
    pub(super) reputation: Reputation,
    pub(super) meter: RefCell<Meter>,
    pub(super) bus: Queue<Event>,
    /// The payments of the cluster that there is.
    pub(super) payments: RefCell<Option<Rc<Payments>>>,
    pub(super) activities: RefCell<BTreeMap<ActivityId, Rc<Activity>>>,
    network: RefCell<Option<NetworkId>>,
    /// Everybody who was ever added; addresses are not used again (§1).
    members: RefCell<Vec<(Ipv4Addr, ProviderId)>>,
}

/// What the bus tells.
pub(super) enum Event {
    /// An agreement was made.
    NewAgreement(Rc<Agreement>),
    /// A debit note has come.
    NewNote(Rc<Note>),
    /// An invoice has come, then.
    NewInvoice(Box<Invoice>, Timestamp),
    /// An activity was destroyed.
    ActivityClosed(Rc<Agreement>),
}

/// An agreement, approved or not.
pub(super) struct Agreement {
    pub(super) id: AgreementId,
    /// What it is about: the provider's last word.
    pub(super) offer: Rc<Offer>,
    /// When we began to wait for the approval that came.
    pub(super) approved: Cell<Option<Timestamp>>,
    pub(super) activities: RefCell<Vec<ActivityId>>,
    /// Whether it ends with its activity.
    pub(super) is_watched: Cell<bool>,
}

/// An activity that we know.
pub(super) struct Activity {
    pub(super) agreement: Rc<Agreement>,
    pub(super) created: Timestamp,
    /// Its debit notes so far.
    pub(super) notes: RefCell<Vec<Rc<Note>>>,
}

/// A debit note as it came.
pub(super) struct Note {
    pub(super) document: DebitNote,
    pub(super) came: Timestamp,
}

impl Service {
    pub(super) fn new(world: &Rc<World>, platform: &str, reputation: Reputation) -> Rc<Self> {
        Rc::new(Self {
            world: Rc::clone(world),
            session: SessionId::from("original"),
            platform: PlatformId::from(platform),
            reputation,
            meter: RefCell::default(),
            bus: Queue::default(),
            payments: RefCell::default(),
            activities: RefCell::default(),
            network: RefCell::default(),
            members: RefCell::default(),
        })
    }

    /// Makes the private network, and begins to listen.
    pub(super) async fn open(self: &Rc<Self>) {
        let made = self.world.call(Request::CreateNetwork {
            path: NetworkPath::Daemon,
            ip: NETWORK.into(),
            prefix: 16,
            gateway: Ipv4Addr::new(192, 168, 0, 1).into(),
        });
        let Ok(Response::NetworkCreated(network)) = made.await else { unreachable!("{MISMATCH}") };
        *self.network.borrow_mut() = Some(network.id);
        self.world.spawn(super::payment::handle_events(Rc::clone(self)));
        self.world.spawn(super::payment::collect_notes(Rc::clone(self)));
        self.world.spawn(super::payment::collect_invoices(Rc::clone(self)));
    }

    pub(super) fn network(&self) -> NetworkId {
        self.network.borrow().clone().expect("the process has opened it before anything else")
    }

    /// Adds a provider to the network, at the next address (§1, §8).
    pub(super) async fn add_provider(&self, provider: &ProviderId) -> Result<Ipv4Addr, Refusal> {
        let taken = u32::try_from(self.members.borrow().len()).unwrap_or(u32::MAX);
        let ip = Ipv4Addr::from_bits(FIRST_NODE.saturating_add(taken));
        self.members.borrow_mut().push((ip, provider.clone()));
        self.announce(provider, ip).await.map(|()| ip)
    }

    /// Says again where a node is.
    pub(super) async fn announce(
        &self,
        provider: &ProviderId,
        ip: Ipv4Addr,
    ) -> Result<(), Refusal> {
        let (network, provider) = (self.network(), provider.clone());
        let add = Request::AddNode { network, provider, ip: ip.into() };
        self.world.call(add).await.map(drop)
    }

    /// How a node joins the network.
    pub(super) fn deployment(&self, node_ip: Ipv4Addr) -> Deployment {
        let nodes = self.members.borrow().clone();
        Deployment { network: self.network(), ip: NETWORK, mask: MASK, node_ip, nodes }
    }

    /// Has a provider end an activity; if it does not say so, nobody hears of it (§8).
    pub(super) async fn destroy(&self, activity: &ActivityId) {
        let (id, timeout) = (activity.clone(), PROVIDER_TIMEOUT);
        let reply = self.world.call(Request::DestroyActivity { activity: id, timeout }).await;
        let known = self.activities.borrow().get(activity).cloned();
        if let (Ok(_), Some(activity)) = (reply, known) {
            self.bus.push(Event::ActivityClosed(Rc::clone(&activity.agreement)));
        }
    }

    /// Ends an agreement and what runs under it, with few tries (§7).
    pub(super) async fn close_all(&self, agreement: &Agreement) {
        for nth in 1..=CLOSE_TRIES {
            let (id, reason) = (agreement.id.clone(), String::new());
            let request = Request::TerminateAgreement { agreement: id, reason };
            match self.world.call(request).await {
                Ok(_) => break,
                Err(refusal) if is_over(&refusal) => break,
                Err(_) => self.world.sleep(Span::secs(1 << nth)).await,
            }
        }
        let activities = agreement.activities.borrow().clone();
        for activity in activities {
            self.destroy(&activity).await;
        }
    }
}

/// 410 says that an agreement is over, but for one that is not approved yet (§7).
fn is_over(refusal: &Refusal) -> bool {
    let is_open = ["from Approving", "from Pending"].iter().any(|it| refusal.body.contains(it));
    refusal.status == Status(410) && !is_open
}
