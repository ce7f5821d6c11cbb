//! Allocations, as the daemon keeps them.

use ray_on_golem::{
    core::rng::Seed,
    units::{Glm, Timestamp},
    yagna::{Allocation, AllocationId, Decorations, PlatformId, Response, Status},
};
use serde_json::json;

use super::{Refusal, Reply};

/// The drivers, networks, and tokens that make a platform.
const NETWORKS: [&str; 9] =
    ["mainnet", "sepolia", "rinkeby", "goerli", "holesky", "hoodi", "polygon", "mumbai", "amoy"];

/// One allocation there ever was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocationBook {
    /// What the daemon tells of it.
    pub allocation: Allocation,
    /// Whether its funds are free again.
    pub is_released: bool,
}

#[derive(Debug)]
pub(super) struct Payment {
    address: String,
    wallet: Glm,
    seed: Seed,
    books: Vec<AllocationBook>,
}

impl Payment {
    pub(super) fn new(address: &str, wallet: Glm, seed: Seed) -> Self {
        Self { address: address.to_owned(), wallet, seed, books: Vec::new() }
    }

    pub(super) fn books(&self) -> &[AllocationBook] {
        &self.books
    }

    pub(super) fn create(
        &mut self,
        now: Timestamp,
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
        let reserved = self.reserved();
        let available = self.wallet.minus(reserved);
        if total > available {
            let detail = "Insufficient funds to create the allocation. Top up your account or \
                          release all existing allocations to unlock the funds via `yagna payment \
                          release-allocations`";
            let funds = json!({
                "availableFunds": available.to_string(),
                "requestedFunds": total.to_string(),
                "reservedFunds": reserved.to_string(),
            });
            let instance = Some("insufficient-account-funds");
            return Err(problem("validation-error", instance, detail, &funds));
        }
        let nth = self.books.len() as u64;
        let part = |which| self.seed.draw("allocation", nth, which);
        let (high, low) = (part(0), part(1));
        let id = format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 32,
            high & 0xffff,
            (high >> 16) & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        );
        let allocation = Allocation {
            id: AllocationId::from(id),
            address: self.address.clone(),
            platform: platform.clone(),
            total,
            spent: Glm::ZERO,
            remaining: total,
            timeout: Some(timeout),
        };
        self.books.push(AllocationBook { allocation: allocation.clone(), is_released: false });
        Ok(Response::AllocationCreated(allocation))
    }

    pub(super) fn list(&self) -> Vec<Allocation> {
        let open = self.books.iter().filter(|book| !book.is_released);
        open.map(|book| book.allocation.clone()).collect()
    }

    pub(super) fn release(&mut self, id: &AllocationId) -> Reply {
        match self.books.iter_mut().find(|book| book.allocation.id == *id) {
            Some(book) if book.is_released => {
                let message = format!("Allocation {id} has been already released");
                Err(super::refuse(410, &message))
            }
            Some(book) => {
                book.is_released = true;
                Ok(Response::AllocationReleased)
            }
            None => Err(not_found()),
        }
    }

    pub(super) fn decorate(&self, id: &AllocationId) -> Reply {
        let open = self.books.iter().find(|it| it.allocation.id == *id && !it.is_released);
        let Some(AllocationBook { allocation, .. }) = open else {
            return Err(not_found());
        };
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
    pub(super) fn expire(&mut self, now: Timestamp) {
        for book in &mut self.books {
            if book.allocation.timeout.is_some_and(|timeout| timeout <= now) {
                book.is_released = true;
            }
        }
    }

    fn reserved(&self) -> Glm {
        let open = self.books.iter().filter(|book| !book.is_released);
        open.fold(Glm::ZERO, |sum, book| sum.plus(book.allocation.remaining))
    }
}

fn not_found() -> Refusal {
    Refusal { status: Status::NOT_FOUND, body: "{\"message\":null}".to_owned() }
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

    use super::Payment;

    const NOW: Timestamp = Timestamp::from_unix_micros(1_000_000);

    #[test]
    fn the_wallet_bounds_what_can_be_set_aside() {
        let mut payment = Payment::new("0x1", Glm::from_whole(8), Seed::new(1));
        let platform = PlatformId::from("erc20-hoodi-tglm");
        let later = NOW.plus(Span::secs(10));

        let first = payment.create(NOW, &platform, Glm::from_whole(5), later);
        let second = payment.create(NOW, &platform, Glm::from_whole(5), later);
        payment.expire(later);
        let third = payment.create(NOW, &platform, Glm::from_whole(5), later.plus(Span::TICK));

        assert!(matches!(first, Ok(Response::AllocationCreated(_))));
        let refusal = second.expect_err("not enough");
        assert_eq!(refusal.status, Status(400));
        assert!(refusal.body.contains("insufficient-account-funds"), "{}", refusal.body);
        assert!(third.is_ok(), "the first one timed out");
    }

    #[test]
    fn an_allocation_is_released_once() {
        let mut payment = Payment::new("0x1", Glm::from_whole(8), Seed::new(1));
        let later = NOW.plus(Span::secs(10));
        let platform = PlatformId::from("erc20-hoodi-tglm");
        let Ok(Response::AllocationCreated(allocation)) =
            payment.create(NOW, &platform, Glm::from_whole(5), later)
        else {
            panic!("refused");
        };

        assert_eq!(payment.release(&allocation.id), Ok(Response::AllocationReleased));
        let again = payment.release(&allocation.id).expect_err("gone");
        assert_eq!(again.status, Status::GONE);
        assert_eq!(payment.decorate(&allocation.id).expect_err("gone").status, Status::NOT_FOUND);
        assert!(payment.list().is_empty());
        let past = payment.create(later, &platform, Glm::from_whole(1), NOW);
        assert!(past.expect_err("past").body.contains("timeout-passed"));
        let odd = payment.create(NOW, &PlatformId::from("x"), Glm::from_whole(1), later);
        assert!(odd.expect_err("odd").body.contains("bad-payment-platform"));
    }
}
