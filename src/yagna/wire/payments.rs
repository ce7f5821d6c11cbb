//! The payments that the daemon has made.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::Value;

use super::documents::{Amount, Instant};
use crate::{
    units::Glm,
    yagna::{
        ids::{ActivityId, AgreementId, checked},
        model::{PaidFor, Payment},
    },
};

/// The document of a [`Payment`]; the daemon writes more of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PaymentDocument {
    payment_id: String,
    timestamp: Instant,
    #[serde(default)]
    agreement_payments: Vec<AgreementShare>,
    #[serde(default)]
    activity_payments: Vec<ActivityShare>,
    /// What the payment driver says of it: the bytes of the transaction's hash, in base 64.
    #[serde(default)]
    details: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AgreementShare {
    #[serde(deserialize_with = "checked")]
    agreement_id: AgreementId,
    amount: Amount,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ActivityShare {
    #[serde(deserialize_with = "checked")]
    activity_id: ActivityId,
    amount: Amount,
}

/// The payments in a reply to `GET /payments`; `None` if it is no list. What is no payment is left out: one of another
/// application must not hide ours.
#[must_use]
pub fn read_payments(body: &[u8]) -> Option<Vec<Payment>> {
    let documents: Vec<Value> = serde_json::from_slice(body).ok()?;
    let read = documents.into_iter().filter_map(|it| PaymentDocument::deserialize(it).ok());
    Some(read.map(Payment::from).collect())
}

impl From<PaymentDocument> for Payment {
    fn from(document: PaymentDocument) -> Self {
        let of_agreements = document.agreement_payments.into_iter();
        let of_activities = document.activity_payments.into_iter();
        let shares: Vec<(PaidFor, Glm)> = of_agreements
            .map(|share| (PaidFor::Agreement(share.agreement_id), share.amount.0))
            .chain(of_activities.map(|it| (PaidFor::Activity(it.activity_id), it.amount.0)))
            .collect();
        Self {
            id: document.payment_id,
            at: document.timestamp.0,
            transaction: transaction(&document.details),
            shares,
        }
    }
}

fn transaction(details: &str) -> Option<String> {
    let hash = BASE64_STANDARD.decode(details).ok().filter(|hash| !hash.is_empty())?;
    let digits: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("0x{}", digits.concat()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{PaidFor, Payment, read_payments};
    use crate::{
        units::{Glm, Timestamp},
        yagna::ids::{ActivityId, AgreementId},
    };

    #[test]
    fn shares_of_agreements_and_activities_are_read() {
        let (agreement, activity) = ("ab".repeat(32), "cd".repeat(16));
        let body = json!([{
            "paymentId": "one", "amount": "0.75", "timestamp": "2026-11-30T12:00:00Z",
            "agreementPayments": [{"agreementId": agreement, "amount": "0.5", "allocationId": null}],
            "activityPayments": [{"activityId": activity, "amount": "0.25"}],
            "details": "yv4=",
        }]);

        assert_eq!(
            read_payments(body.to_string().as_bytes()),
            Some(vec![Payment {
                id: "one".to_owned(),
                at: Timestamp::from_unix_micros(1_796_040_000_000_000),
                transaction: Some("0xcafe".to_owned()),
                shares: vec![
                    (
                        PaidFor::Agreement(AgreementId::from(agreement)),
                        Glm::from_atto(500_000_000_000_000_000)
                    ),
                    (
                        PaidFor::Activity(ActivityId::from(activity)),
                        Glm::from_atto(250_000_000_000_000_000)
                    ),
                ],
            }])
        );
    }

    #[test]
    fn what_is_no_payment_hides_none() {
        let sound =
            json!({"paymentId": "one", "timestamp": "2026-11-30T12:00:00Z", "details": "?"});
        let body = json!([{"paymentId": 7}, null, sound]);

        let read = read_payments(body.to_string().as_bytes()).expect("a list");
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].transaction.as_deref(), read[0].shares.len()), (None, 0));
        for strange in ["", "{}", "null", "[", "7"] {
            assert_eq!(read_payments(strange.as_bytes()), None, "{strange:?}");
        }
    }
}
