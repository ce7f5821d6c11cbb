//! Looks at the market without a demand: offers as the daemon hears of them, each once.

use std::collections::BTreeMap;

use ray_on_golem::{
    units::{Span, Timestamp},
    yagna::{DemandBody, PublishedOffer, Response, ScanId, SubscriptionId},
};

use super::{Refusal, Reply, RequestNo, SimYagna, constraint::Constraint, refuse};
use crate::provider::{Draft, Offer};

/// More scans than this end the oldest one.
const SCANS_MAX: usize = 100;
/// A client that waits for offers is told of them this often.
const LOOKS_EVERY: Span = Span::millis(500);

/// A request that waits for offers.
#[derive(Debug)]
pub(crate) struct Due {
    request: RequestNo,
    scan: ScanId,
    most: usize,
    until: Timestamp,
}

/// Scans, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Scans {
    open: BTreeMap<u64, Scan>,
    next: u64,
}

#[derive(Debug)]
struct Scan {
    filter: Constraint,
    /// The daemon keeps no demands to look at.
    is_of_offers: bool,
    /// Which offers were shown, by their numbers.
    seen: Vec<bool>,
    lasts: Span,
    ends: Timestamp,
}

impl Scans {
    /// Nothing of them outlives the daemon.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

impl SimYagna {
    /// Begins a scan, of offers or of demands.
    ///
    /// # Errors
    ///
    /// In the daemon's words, if the constraints cannot be read.
    pub fn begin_scan(
        &mut self,
        now: Timestamp,
        constraints: Option<&str>,
        is_of_offers: bool,
        lasts: Span,
    ) -> Result<ScanId, Refusal> {
        let filter = constraints.map_or(Constraint::All(Vec::new()), Constraint::parse);
        let number = self.scans.next;
        // One that cannot be begun has its number, too.
        self.scans.next += 1;
        if filter == Constraint::Never {
            return Err(refuse(400, "Invalid constraint. It cannot be read"));
        }
        let open = &mut self.scans.open;
        open.retain(|_, scan| scan.ends > now);
        let ends = now.plus(lasts);
        open.insert(number, Scan { filter, is_of_offers, seen: Vec::new(), lasts, ends });
        if open.len() > SCANS_MAX {
            open.pop_first();
        }
        Ok(ScanId::from(number.to_string()))
    }

    /// Offers that a scan has not shown yet, and keeps the scan alive.
    ///
    /// # Errors
    ///
    /// In the daemon's words, if there is no such scan.
    pub fn scan_page(
        &mut self,
        now: Timestamp,
        id: &ScanId,
        most: usize,
    ) -> Result<Vec<PublishedOffer>, Refusal> {
        self.touch_scan(now, id)?;
        let Self { scans, market, ids, .. } = self;
        let scan = number(id).and_then(|number| scans.open.get_mut(&number));
        let scan = scan.ok_or_else(|| unknown(id))?;
        let mut offers = Vec::new();
        for (offer, known) in market.numbered_offers().filter(|_| scan.is_of_offers) {
            if offers.len() == most {
                break;
            }
            if scan.seen.len() <= offer {
                scan.seen.resize(offer + 1, false);
            }
            let is_new = !std::mem::replace(&mut scan.seen[offer], true);
            if is_new && scan.filter.accepts(known) {
                offers.push(published(ids.offer(offer), known));
            }
        }
        Ok(offers)
    }

    /// All offers of a provider that a scan is interested in: the provider itself is asked.
    ///
    /// # Errors
    ///
    /// In the daemon's words, if there is no such scan.
    pub fn offers_of(&self, id: &ScanId, provider: &str) -> Result<Vec<PublishedOffer>, Refusal> {
        let scan = number(id).and_then(|number| self.scans.open.get(&number));
        let scan = scan.ok_or_else(|| unknown(id))?;
        let own = self.known_offers().filter(|(_, offer)| offer.provider.as_str() == provider);
        let wanted = own.filter(|(_, offer)| scan.filter.accepts(*offer));
        Ok(wanted.map(|(number, offer)| published(self.offer_id(number), offer)).collect())
    }

    /// Keeps a scan alive.
    ///
    /// # Errors
    ///
    /// In the daemon's words, if there is no such scan.
    pub fn touch_scan(&mut self, now: Timestamp, id: &ScanId) -> Result<(), Refusal> {
        let scan = number(id).and_then(|number| self.scans.open.get_mut(&number));
        let scan = scan.filter(|scan| scan.ends > now).ok_or_else(|| unknown(id))?;
        scan.ends = now.plus(scan.lasts);
        Ok(())
    }

    /// Ends a scan.
    ///
    /// # Errors
    ///
    /// In the daemon's words, if there is no such scan.
    pub fn end_scan(&mut self, id: &ScanId) -> Result<(), Refusal> {
        let ended = number(id).and_then(|number| self.scans.open.remove(&number));
        ended.map(|_| ()).ok_or_else(|| unknown(id))
    }

    /// Answers at once if there is something new; otherwise when there is, or when the time is up.
    pub(super) fn collect_scan(
        &mut self,
        now: Timestamp,
        request: RequestNo,
        scan: &ScanId,
        timeout: Span,
        most: usize,
    ) -> Option<Reply> {
        let due = Due { request, scan: scan.clone(), most, until: now.plus(timeout) };
        let reply = self.look_again(now, due);
        if reply.is_none() {
            self.open.insert(request);
        }
        reply
    }

    /// A client that waits for offers may have waited long enough.
    pub(super) fn on_scan_due(&mut self, now: Timestamp, due: Due) {
        let request = due.request;
        if self.open.contains(&request)
            && let Some(reply) = self.look_again(now, due)
        {
            self.answer(request, reply);
        }
    }

    fn look_again(&mut self, now: Timestamp, due: Due) -> Option<Reply> {
        match self.scan_page(now, &due.scan, due.most) {
            Ok(offers) if offers.is_empty() && due.most > 0 && now < due.until => {
                let at = now.plus(LOOKS_EVERY).min(due.until);
                self.agenda.add(at, due);
                None
            }
            Ok(offers) => Some(Ok(Response::ScannedOffers(offers))),
            Err(refusal) => Some(Err(refusal)),
        }
    }
}

fn number(id: &ScanId) -> Option<u64> {
    id.as_str().parse().ok()
}

fn unknown(id: &ScanId) -> Refusal {
    refuse(404, &format!("Iterator with id \"{id}\" not found"))
}

fn published(id: SubscriptionId, offer: &Offer) -> PublishedOffer {
    PublishedOffer {
        id,
        provider: offer.provider.clone(),
        // The simulated network does not remember when.
        timestamp: Timestamp::EPOCH,
        body: DemandBody {
            properties: offer.properties(&Draft::default()),
            constraints: offer.constraints(),
        },
    }
}
