//! What tasks wait for each other with, as far as the original uses it.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Poll, Waker},
};

/// Waits for something to become so (`asyncio.Condition`).
#[derive(Default)]
pub(super) struct Condition(RefCell<Vec<Waker>>);

impl Condition {
    /// Waits until `look` finds something. Whoever has waited longest looks first.
    pub(super) async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        poll_fn(|context| {
            let found = look();
            if found.is_none() {
                self.0.borrow_mut().push(context.waker().clone());
            }
            found.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Something has changed.
    pub(super) fn notify(&self) {
        self.0.take().into_iter().for_each(Waker::wake);
    }
}

/// First in, first out (`asyncio.Queue`).
pub(super) struct Queue<T> {
    items: RefCell<VecDeque<T>>,
    changed: Condition,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { items: RefCell::default(), changed: Condition::default() }
    }
}

impl<T> Queue<T> {
    pub(super) fn push(&self, item: T) {
        self.items.borrow_mut().push_back(item);
        self.changed.notify();
    }

    pub(super) async fn pop(&self) -> T {
        self.changed.until(|| self.items.borrow_mut().pop_front()).await
    }

    pub(super) fn len(&self) -> usize {
        self.items.borrow().len()
    }

    /// Replaces all items.
    pub(super) fn replace(&self, items: Vec<T>) {
        *self.items.borrow_mut() = items.into();
        self.changed.notify();
    }

    pub(super) fn take_all(&self) -> Vec<T> {
        self.items.take().into()
    }

    /// Takes out what must not stay.
    pub(super) fn take_if(&self, must_go: impl Fn(&T) -> bool) -> Vec<T> {
        let (gone, kept): (Vec<T>, Vec<T>) = self.take_all().into_iter().partition(must_go);
        *self.items.borrow_mut() = kept.into();
        gone
    }

    /// Waits until there is something.
    pub(super) async fn filled(&self) {
        self.changed.until(|| (self.len() > 0).then_some(())).await;
    }
}

/// So many may go on at once (`asyncio.Semaphore`).
pub(super) struct Semaphore {
    free: Cell<usize>,
    changed: Condition,
}

/// One of those that may go on.
pub(super) struct Permit<'a>(&'a Semaphore);

impl Semaphore {
    pub(super) fn new(free: usize) -> Self {
        Self { free: Cell::new(free), changed: Condition::default() }
    }

    pub(super) async fn acquire(&self) -> Permit<'_> {
        let take = || self.free.get().checked_sub(1).map(|left| self.free.set(left));
        self.changed.until(take).await;
        Permit(self)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.free.set(self.0.free.get() + 1);
        self.0.changed.notify();
    }
}

/// Items that a buffer has asked for and not got yet (§5; golem-core calls it a single-use semaphore).
#[derive(Default)]
pub(super) struct Charges {
    open: Cell<usize>,
    taken: Cell<usize>,
    changed: Condition,
}

impl Charges {
    pub(super) fn add(&self, count: usize) {
        self.open.set(self.open.get() + count);
        self.changed.notify();
    }

    /// Takes one, to be filled.
    pub(super) async fn take(&self) {
        let take = || self.open.get().checked_sub(1).map(|left| self.open.set(left));
        self.changed.until(take).await;
        self.taken.set(self.taken.get() + 1);
    }

    /// One is filled.
    pub(super) fn fill(&self) {
        self.taken.set(self.taken.get().saturating_sub(1));
        self.changed.notify();
    }

    /// How many are not filled yet.
    pub(super) fn missing(&self) -> usize {
        self.open.get() + self.taken.get()
    }

    /// Waits until everything is filled.
    pub(super) async fn filled(&self) {
        self.changed.until(|| (self.missing() == 0).then_some(())).await;
    }
}

/// Something to be done beside others.
pub(super) type Work<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Waits for all of them, side by side (`asyncio.gather`).
pub(super) async fn all(work: Vec<Work<'_>>) {
    let mut left = work;
    poll_fn(|context| {
        left.retain_mut(|work| work.as_mut().poll(context).is_pending());
        if left.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
