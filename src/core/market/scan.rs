//! A look at all offers that the daemon knows, for a census: without a demand, so that no provider hears of
//! it, and it costs nothing.
//!
//! A scan is asked for page by page until there is nothing new: a page comes at once where there are offers, and
//! need not be full. Nothing of it is durable: a scan that was lost ends by itself.

use super::{
    Market, MarketCall,
    census::{Census, Count},
};
use crate::{
    core::{Purpose, effects::Effects, planted::Bug},
    units::{Span, Timestamp},
    yagna::{CallError, PublishedOffer, Request, Response, ScanId, Status},
};

/// From the beginning of a scan to the next one.
const SCAN_EVERY: Span = Span::mins(1);
/// The daemon forgets a scan that was not used for so long.
const LASTS: Span = Span::mins(1);
const PATIENCE: Span = Span::secs(10);
/// A daemon that has just begun a scan has not read its offers yet: asked with no time to wait, yagna 0.17.6
/// shows an empty market to every fourth scan.
const PAGE_TIMEOUT: Span = Span::secs(2);
/// Offers that are handed out at once.
const PAGE: u16 = 100;
/// Pages that are asked for: the offers of a large market, and no more.
const PAGES_MAX: u32 = 200;

/// How far the look at the market is.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// When it was begun last.
    begun: Option<Timestamp>,
    work: Option<Work>,
    /// What the last one that was finished has found.
    census: Option<Census>,
    /// Whether the daemon has no scans: it is older than 0.16.
    is_blind: bool,
}

/// A scan under way.
#[derive(Debug)]
struct Work {
    /// Named by the daemon.
    id: Option<ScanId>,
    pages: u32,
    count: Count,
}

impl Market {
    /// What is on the market, as it was seen last; `None` if it was not, or if the daemon cannot show it.
    pub(in crate::core) fn census(&self) -> Option<&Census> {
        self.scan.census.as_ref()
    }

    /// Whether the daemon cannot show what is on the market.
    pub(in crate::core) const fn is_blind(&self) -> bool {
        self.scan.is_blind
    }

    /// Looks at the whole market, unless that was done just now.
    pub(in crate::core) fn look_around(&mut self, fx: &mut Effects) {
        let is_due = self.scan.begun.is_none_or(|at| fx.now.since(at) >= SCAN_EVERY);
        if !is_due || !self.open {
            return;
        }
        let constraints = &self.decorations.constraints;
        let count = Count::new(&self.spec, &self.subnet_tag, &self.platform, constraints);
        self.scan.begun = Some(fx.now);
        self.scan.work = Some(Work { id: None, pages: 0, count });
        let request = Request::BeginScan { constraints: None, lasts: LASTS };
        fx.call(self.purpose(MarketCall::BeginScan), request, PATIENCE);
    }

    pub(super) fn on_scan_begun(&mut self, fx: &mut Effects, result: Result<Response, CallError>) {
        self.scan.is_blind = matches!(&result, Err(error) if error.is_refusal(Status::NOT_FOUND));
        match (&mut self.scan.work, result) {
            (Some(work), Ok(Response::ScanBegun(id))) if work.id.is_none() => {
                work.id = Some(id);
                self.ask_for_page(fx);
            }
            (_, Ok(Response::ScanBegun(id))) => end(fx, id),
            // A daemon that has no scans is asked again, too: it may be a newer one by then.
            (_, Ok(_) | Err(_)) => self.scan.work = None,
        }
    }

    pub(super) fn on_scanned(&mut self, fx: &mut Effects, result: Result<Response, CallError>) {
        let Ok(Response::ScannedOffers(offers)) = result else {
            self.end_scan(fx);
            return;
        };
        let is_last = offers.is_empty();
        self.count(fx, &offers);
        let has_room = self.scan.work.as_ref().is_some_and(|work| work.pages < PAGES_MAX);
        if !is_last && has_room {
            self.ask_for_page(fx);
            return;
        }
        let count = self.scan.work.as_ref().map(|work| work.count.clone());
        self.end_scan(fx);
        self.scan.census = count.map(|count| count.finish(fx.now));
    }

    /// Looks no more.
    pub(super) fn end_scan(&mut self, fx: &mut Effects) {
        if let Some(id) = self.scan.work.take().and_then(|work| work.id) {
            end(fx, id);
        }
    }

    fn ask_for_page(&mut self, fx: &mut Effects) {
        let purpose = self.purpose(MarketCall::CollectScan);
        let Some(work) = &mut self.scan.work else { return };
        let Some(scan) = work.id.clone() else { return };
        work.pages = work.pages.saturating_add(1);
        let request = Request::CollectScan { scan, timeout: PAGE_TIMEOUT, max_events: PAGE };
        fx.call(purpose, request, PATIENCE);
    }

    fn count(&mut self, fx: &Effects, offers: &[PublishedOffer]) {
        let Some(work) = &mut self.scan.work else { return };
        for offer in offers {
            let is_blocked = self.reputation.is_blacklisted(&offer.provider, fx.now);
            work.count.add(offer, is_blocked || fx.planted(Bug::CensusBlind));
        }
    }
}

/// Nothing depends on it: the daemon forgets a scan that is not used.
fn end(fx: &mut Effects, scan: ScanId) {
    fx.call(Purpose::Forgotten, Request::EndScan { scan }, PATIENCE);
}
