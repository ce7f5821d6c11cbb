//! A stack (§4): the market pipeline of one node shape on one subnet, from the demand to agreements.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use ray_on_golem::{
    core::market::spec::{Image, NodeSpec},
    units::Span,
    yagna::{Request, Response, Status},
};

use super::{
    buffer::{Drafts, Offers},
    demand::{Demand, Match},
    payment::Payments,
    service::{Agreement, Event, Service},
    sync::{Work, all},
    world::Task,
};

/// Until when a provider may approve (§7).
const VALID_FOR: Span = Span::secs(60);
const APPROVAL_TIMEOUT: Span = Span::secs(15);

/// What makes nodes interchangeable.
pub(super) struct Shape {
    pub(super) spec: NodeSpec,
    pub(super) subnet: String,
    pub(super) image: Image,
}

/// The market pipeline of one node shape on one subnet.
pub(super) struct Stack {
    demand: Rc<Demand>,
    drafts: Rc<Drafts>,
    agreements: RefCell<Vec<Rc<Agreement>>>,
    tasks: RefCell<Vec<Task>>,
    is_running: Cell<bool>,
}

impl Stack {
    /// A stack that begins to look around.
    pub(super) fn start(shape: Shape, service: &Rc<Service>, payments: &Rc<Payments>) -> Rc<Self> {
        let shape = Rc::new(shape);
        let demand = Demand::new(&shape);
        let offers = Offers::new(&shape, &demand);
        let drafts = Drafts::new(&offers);
        demand.start(service, payments);
        let world = &service.world;
        let mut tasks = vec![
            world.spawn(Offers::fill(Rc::clone(&offers), Rc::clone(service))),
            world.spawn(Offers::score(Rc::clone(&offers), Rc::clone(service))),
        ];
        for _ in 0..Drafts::FILLERS {
            tasks.push(world.spawn(Drafts::fill(Rc::clone(&drafts), Rc::clone(service))));
        }
        Rc::new(Self {
            demand,
            drafts,
            agreements: RefCell::default(),
            tasks: RefCell::new(tasks),
            is_running: Cell::new(true),
        })
    }

    /// Ends its agreements, and looks around no more. It stays where it is: whoever asks it from then on
    /// waits for ever (weakness 3).
    pub(super) async fn stop(&self, service: &Service) {
        if !self.is_running.replace(false) {
            return;
        }
        let agreements = self.agreements.take();
        let left = agreements.iter().filter(|agreement| agreement.is_watched.replace(false));
        all(left.map(|it| -> Work<'_> { Box::pin(service.close_all(it)) }).collect()).await;
        self.tasks.take().iter().for_each(Task::abort);
        self.demand.stop(service).await;
    }

    /// An agreement, approved or refused: the original does not look (§7, weakness 7). Whatever else
    /// fails, the next draft is taken.
    pub(super) async fn agreement(&self, service: &Service) -> Rc<Agreement> {
        loop {
            let draft = self.drafts.get().await;
            if let Some(agreement) = sign(service, draft).await {
                agreement.is_watched.set(true);
                self.agreements.borrow_mut().push(Rc::clone(&agreement));
                return agreement;
            }
        }
    }
}

async fn sign(service: &Service, draft: Match) -> Option<Rc<Agreement>> {
    let proposal = draft.proposal.id.clone();
    let valid_to = service.world.now().plus(VALID_FOR);
    let made = service.world.call(Request::CreateAgreement { proposal, valid_to }).await;
    let Ok(Response::AgreementCreated(id)) = made else { return None };
    let agreement = Rc::new(Agreement {
        id: id.clone(),
        offer: draft.offer,
        approved: Cell::new(None),
        activities: RefCell::default(),
        is_watched: Cell::new(false),
    });
    service.bus.push(Event::NewAgreement(Rc::clone(&agreement)));
    service.meter.borrow_mut().signing();
    let session = service.session.clone();
    let confirm = Request::ConfirmAgreement { agreement: id.clone(), session };
    service.world.call(confirm).await.ok()?;
    loop {
        let asked = service.world.now();
        let wait = Request::AwaitApproval { agreement: id.clone(), timeout: APPROVAL_TIMEOUT };
        match service.world.call(wait).await {
            Ok(_) => {
                agreement.approved.set(Some(asked));
                return Some(agreement);
            }
            Err(refusal) if refusal.status == Status::TIMEOUT => {}
            Err(refusal) if refusal.status == Status(410) => return Some(agreement),
            Err(_) => return None,
        }
    }
}
