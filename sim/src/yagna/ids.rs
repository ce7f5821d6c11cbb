//! The daemon's ids: hexadecimal digits that end with a number, and the forms that use them.

use ray_on_golem::{
    core::rng::Seed,
    yagna::{
        ActivityId, AgreementId, AllocationId, BatchId, DebitNoteId, InvoiceId, NetworkId,
        ProposalId, SubscriptionId,
    },
};

/// Makes ids; each ends with the number of what it names, and leads back to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids(pub(super) Seed);

impl Ids {
    pub(super) fn proposal(self, number: usize) -> ProposalId {
        ProposalId::from(format!("R-{}", self.hex("proposal", number)))
    }

    pub(super) fn subscription(self, number: usize) -> SubscriptionId {
        let (head, tail) = (self.hex("subscription", number), self.hex("demand", number));
        SubscriptionId::from(format!("{}-{tail}", &head[..32]))
    }

    /// The subscription of a provider's offer.
    pub(super) fn offer(self, number: usize) -> SubscriptionId {
        let hex = self.hex("offer", number);
        SubscriptionId::from(format!("{}-{hex}", &hex[..32]))
    }

    pub(super) fn agreement(self, number: usize) -> AgreementId {
        AgreementId::from(self.hex("agreement", number))
    }

    pub(super) fn activity(self, number: usize) -> ActivityId {
        ActivityId::from(self.short_hex("activity", number))
    }

    pub(super) fn batch(self, number: usize) -> BatchId {
        BatchId::from(self.short_hex("batch", number))
    }

    pub(super) fn network(self, number: usize) -> NetworkId {
        NetworkId::from(self.short_hex("network", number))
    }

    pub(super) fn allocation(self, number: usize) -> AllocationId {
        AllocationId::from(self.uuid("allocation", number))
    }

    pub(super) fn debit_note(self, number: usize) -> DebitNoteId {
        DebitNoteId::from(self.uuid("debit note", number))
    }

    pub(super) fn invoice(self, number: usize) -> InvoiceId {
        InvoiceId::from(self.uuid("invoice", number))
    }

    pub(super) fn payment(self, number: usize) -> String {
        self.short_hex("payment", number)
    }

    pub(super) fn order(self, number: usize) -> String {
        self.uuid("order", number)
    }

    /// The number in an id, if it is exactly one of ours.
    pub(super) fn number_of(self, id: &ProposalId) -> Option<usize> {
        let number = number_at_end(id.as_str(), 16)?;
        (self.proposal(number) == *id).then_some(number)
    }

    fn hex(self, label: &str, number: usize) -> String {
        let nth = number as u64;
        let (first, second) = (self.0.draw(label, nth, 0), self.0.draw(label, nth, 1));
        format!("{first:016x}{second:016x}{:016x}{nth:016x}", first ^ second.rotate_left(7))
    }

    fn short_hex(self, label: &str, number: usize) -> String {
        let nth = number as u64;
        format!("{:016x}{nth:016x}", self.0.draw(label, nth, 0))
    }

    fn uuid(self, label: &str, number: usize) -> String {
        let nth = number as u64;
        let (high, low) = (self.0.draw(label, nth, 0), self.0.draw(label, nth, 1));
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 32,
            high & 0xffff,
            (high >> 16) & 0xfff,
            low >> 52,
            nth & 0xffff_ffff_ffff
        )
    }
}

/// Finds what `id` names in a list whose ids end with the places of what they name.
pub(super) fn place<T>(
    items: &[T],
    id: &str,
    digits: usize,
    id_of: impl Fn(&T) -> &str,
) -> Option<usize> {
    let number = number_at_end(id, digits)?;
    items.get(number).is_some_and(|item| id_of(item) == id).then_some(number)
}

fn number_at_end(text: &str, digits: usize) -> Option<usize> {
    let tail = text.get(text.len().checked_sub(digits)?..)?;
    usize::from_str_radix(tail, 16).ok()
}

#[cfg(test)]
mod tests {
    use ray_on_golem::{core::rng::Seed, yagna::ProposalId};

    use super::{Ids, place};

    #[test]
    fn ids_have_the_daemons_form_and_lead_back_to_their_number() {
        let ids = Ids(Seed::new(1));
        let proposal = ids.proposal(77);

        assert_eq!(proposal.as_str().len(), 66);
        assert_eq!(ids.number_of(&proposal), Some(77));
        assert_eq!(ids.subscription(0).as_str().find('-'), Some(32));
        assert_eq!(ids.subscription(0).as_str().len(), 97);
        assert_eq!(Ids(Seed::new(2)).number_of(&proposal), None, "another network's");
        for text in ["", "R-", "R-00", "é€é€é€é€é€", &"f".repeat(66)] {
            assert_eq!(ids.number_of(&ProposalId::from(text)), None, "{text}");
        }
    }

    #[test]
    fn an_id_leads_to_its_place_in_a_list() {
        let ids = Ids(Seed::new(1));
        let notes: Vec<String> =
            (0..20).map(|number| ids.debit_note(number).as_str().to_owned()).collect();

        assert_eq!(notes[0].len(), 36);
        for (number, note) in notes.iter().enumerate() {
            assert_eq!(place(&notes, note, 12, String::as_str), Some(number));
        }
        assert_eq!(place(&notes, ids.debit_note(20).as_str(), 12, String::as_str), None);
        assert_eq!(place(&notes, ids.invoice(3).as_str(), 12, String::as_str), None);
    }
}
