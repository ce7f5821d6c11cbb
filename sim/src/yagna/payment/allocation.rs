//! Allocations, as the daemon keeps them.

use std::collections::BTreeSet;

use ray_on_golem::{
    units::{Glm, Span, Timestamp},
    yagna::{Allocation, AllocationId, Decorations, PlatformId, Response, Status},
};
use serde_json::json;

use super::{Ids, Refusal, not_found};
use crate::yagna::{Reply, ids::place, refuse};

/// The drivers, networks, and tokens that make a platform.
const NETWORKS: [&str; 9] =
    ["mainnet", "sepolia", "rinkeby", "goerli", "holesky", "hoodi", "polygon", "mumbai", "amoy"];

/// How long an allocation lasts that is to last for ever.
const LASTS: Span = Span::days(3_650);

/// One allocation there ever was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocationBook {
    /// What the daemon tells of it.
    pub allocation: Allocation,
    /// When it was made.
    pub created: Timestamp,
    /// Whether its funds are free again.
    pub is_released: bool,
}

#[derive(Debug)]
pub(in crate::yagna) struct Allocations {
    address: String,
    ids: Ids,
    books: Vec<AllocationBook>,
    /// Places of those whose funds are not free.
    open: BTreeSet<usize>,
}

impl Allocations {
    pub(super) fn new(address: &str, ids: Ids) -> Self {
        Self { address: address.to_owned(), ids, books: Vec::new(), open: BTreeSet::new() }
    }

    pub(in crate::yagna) fn books(&self) -> &[AllocationBook] {
        &self.books
    }

    pub(in crate::yagna) fn create(
        &mut self,
        now: Timestamp,
        wallet: Glm,
        platform: &PlatformId,
        total: Glm,
        timeout: Timestamp,
    ) -> Reply {
        let is_known = platform
            .as_str()
            .strip_prefix("erc20-")
            .and_then(|rest| rest.split_once('-'))
            .is_some_and(|(network, token)| {
                NETWORKS.contains(&network) && matches!(token, "glm" | "tglm")
            });
        if !is_known {
            let detail = "Payment platform doesn't parse";
            return Err(problem("bad-payment-platform", None, detail, &json!({})));
        }
        if timeout <= now {
            let detail = "Requested allocation timeout is in the past";
            return Err(problem("validation-error", Some("timeout-passed"), detail, &json!({})));
        }
        self.check_funds(wallet, total)?;
        // Without a time-out the daemon takes some ten years.
        let timeout = if timeout == Timestamp::NEVER { now.plus(LASTS) } else { timeout };
        let id = self.ids.allocation(self.books.len());
        let allocation = Allocation {
            id,
            address: self.address.clone(),
            platform: platform.clone(),
            total,
            spent: Glm::ZERO,
            remaining: total,
            timeout: Some(timeout),
        };
        self.open.insert(self.books.len());
        let allocated = allocation.clone();
        self.books.push(AllocationBook { allocation, created: now, is_released: false });
        Ok(Response::AllocationCreated(allocated))
    }

    pub(in crate::yagna) fn list(&self) -> Vec<Allocation> {
        self.open.iter().map(|number| self.books[*number].allocation.clone()).collect()
    }

    pub(in crate::yagna) fn release(&mut self, id: &AllocationId) -> Reply {
        let number = self.place(id).ok_or_else(not_found)?;
        if !self.open.remove(&number) {
            let message = format!("Allocation {id} has been already released");
            return Err(refuse(410, &message));
        }
        self.books[number].is_released = true;
        Ok(Response::AllocationReleased)
    }

    pub(in crate::yagna) fn decorate(&self, id: &AllocationId) -> Reply {
        let number = self.open_place(id).ok_or_else(not_found)?;
        let allocation = &self.books[number].allocation;
        let address = format!("golem.com.payment.platform.{}.address", allocation.platform);
        let constraint = format!("({address}=*)");
        Ok(Response::Decorations(Decorations {
            properties: vec![
                (address, self.address.clone()),
                ("golem.com.payment.protocol.version".to_owned(), "3".to_owned()),
            ],
            constraints: vec![constraint, "(golem.com.payment.protocol.version>1)".to_owned()],
        }))
    }

    /// The daemon releases by itself what has timed out.
    pub(in crate::yagna) fn expire(&mut self, now: Timestamp) {
        let books = &mut self.books;
        self.open.retain(|number| {
            let book = &mut books[*number];
            book.is_released = book.allocation.timeout.is_some_and(|timeout| timeout <= now);
            !book.is_released
        });
    }

    // spec: payment-api amendAllocation 400 404
    pub(in crate::yagna) fn amend(
        &mut self,
        now: Timestamp,
        wallet: Glm,
        id: &AllocationId,
        total: Glm,
        timeout: Timestamp,
    ) -> Reply {
        let number = self.open_place(id).ok_or_else(not_found)?;
        let Allocation { spent, total: present, .. } = self.books[number].allocation;
        if total < spent {
            let text = "New allocation would be smaller than the already spent amount";
            return Err(refuse(400, text));
        }
        if timeout <= now {
            return Err(refuse(400, "New allocation timeout is in the past"));
        }
        if total > present {
            self.check_funds(wallet, total.minus(present))?;
        }
        let allocation = &mut self.books[number].allocation;
        allocation.total = total;
        allocation.remaining = total.minus(spent);
        allocation.timeout = Some(timeout);
        Ok(Response::AllocationAmended(allocation.clone()))
    }

    /// The allocation of this id, unless it is released.
    pub(super) fn open_mut(&mut self, id: &AllocationId) -> Result<&mut Allocation, Refusal> {
        let number = self.open_place(id);
        number
            .map(|number| &mut self.books[number].allocation)
            .ok_or_else(|| refuse(400, &format!("Allocation {id} not found")))
    }

    /// Where it stands in the books, released or not.
    pub(in crate::yagna) fn place(&self, id: &AllocationId) -> Option<usize> {
        place(&self.books, id.as_str(), 12, |book| book.allocation.id.as_str())
    }

    fn open_place(&self, id: &AllocationId) -> Option<usize> {
        self.place(id).filter(|number| self.open.contains(number))
    }

    /// Refuses what the wallet does not hold, or holds for others.
    fn check_funds(&self, wallet: Glm, wanted: Glm) -> Result<(), Refusal> {
        let reserved = self.reserved();
        let available = wallet.minus(reserved);
        if wanted <= available {
            return Ok(());
        }
        let detail = "Insufficient funds to create the allocation. Top up your account or release \
                      all existing allocations to unlock the funds via `yagna payment \
                      release-allocations`";
        let funds = json!({
            "availableFunds": available.to_string(),
            "requestedFunds": wanted.to_string(),
            "reservedFunds": reserved.to_string(),
        });
        Err(problem("validation-error", Some("insufficient-account-funds"), detail, &funds))
    }

    fn reserved(&self) -> Glm {
        let open = self.open.iter().map(|number| &self.books[*number].allocation);
        open.fold(Glm::ZERO, |sum, allocation| sum.plus(allocation.remaining))
    }
}

/// An error of allocations, in the form of RFC 7807.
fn problem(
    kind: &str,
    instance: Option<&str>,
    detail: &str,
    extension: &serde_json::Value,
) -> Refusal {
    let kind = format!("/payment-api/v1/allocations/{kind}");
    let mut body = json!({ "type": kind, "detail": detail });
    if let Some(object) = body.as_object_mut() {
        if let Some(instance) = instance {
            object.insert("instance".to_owned(), json!(format!("{kind}/{instance}")));
        }
        object.extend(extension.as_object().cloned().unwrap_or_default());
    }
    Refusal { status: Status(400), body: body.to_string() }
}

#[cfg(test)]
mod tests {
    use ray_on_golem::{
        core::rng::Seed,
        units::{Glm, Span, Timestamp},
        yagna::{PlatformId, Response, Status},
    };

    use super::Allocations;
    use crate::yagna::ids::Ids;

    const NOW: Timestamp = Timestamp::from_unix_micros(1_000_000);
    const WALLET: Glm = Glm::from_whole(8);

    #[test]
    fn the_wallet_bounds_what_can_be_set_aside() {
        let mut allocations = Allocations::new("0x1", Ids(Seed::new(1)));
        let platform = PlatformId::from("erc20-hoodi-tglm");
        let later = NOW.plus(Span::secs(10));

        let first = allocations.create(NOW, WALLET, &platform, Glm::from_whole(5), later);
        let second = allocations.create(NOW, WALLET, &platform, Glm::from_whole(5), later);
        allocations.expire(later);
        let third =
            allocations.create(NOW, WALLET, &platform, Glm::from_whole(5), later.plus(Span::TICK));

        assert!(matches!(first, Ok(Response::AllocationCreated(_))));
        let refusal = second.expect_err("not enough");
        assert_eq!(refusal.status, Status(400));
        assert!(refusal.body.contains("insufficient-account-funds"), "{}", refusal.body);
        assert!(third.is_ok(), "the first one timed out");
    }

    #[test]
    fn an_allocation_is_released_once() {
        let mut allocations = Allocations::new("0x1", Ids(Seed::new(1)));
        let later = NOW.plus(Span::secs(10));
        let platform = PlatformId::from("erc20-hoodi-tglm");
        let Ok(Response::AllocationCreated(allocation)) =
            allocations.create(NOW, WALLET, &platform, Glm::from_whole(5), later)
        else {
            panic!("refused");
        };

        assert_eq!(allocations.release(&allocation.id), Ok(Response::AllocationReleased));
        let again = allocations.release(&allocation.id).expect_err("gone");
        assert_eq!(again.status, Status::GONE);
        assert_eq!(
            allocations.decorate(&allocation.id).expect_err("gone").status,
            Status::NOT_FOUND
        );
        assert!(allocations.list().is_empty());
        let past = allocations.create(later, WALLET, &platform, Glm::from_whole(1), NOW);
        assert!(past.expect_err("past").body.contains("timeout-passed"));
        let odd =
            allocations.create(NOW, WALLET, &PlatformId::from("x"), Glm::from_whole(1), later);
        assert!(odd.expect_err("odd").body.contains("bad-payment-platform"));
    }
}
