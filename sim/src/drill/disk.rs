//! The simulated disk: the real journal format on bytes in memory.

use std::collections::BTreeMap;

use ray_on_golem::{
    core::{Durable, JournalId, Record, record::CommonRecord},
    journal::{self, Growth, Writer},
    units::Timestamp,
};

/// Journals as bytes, and what they fold to.
#[derive(Debug, Default)]
pub(super) struct Disk {
    files: BTreeMap<JournalId, File>,
    durable: Durable,
    /// How many bytes were ever written.
    pub(super) written: u64,
}

#[derive(Debug)]
struct File {
    bytes: Vec<u8>,
    writer: Writer,
    /// Its number is that of the writer's next line.
    next: u64,
    growth: Growth,
}

impl Default for File {
    fn default() -> Self {
        Self { bytes: Vec::new(), writer: Writer::new(0), next: 0, growth: Growth::default() }
    }
}

impl Disk {
    /// Appends a batch; it is durable from here on.
    ///
    /// # Errors
    ///
    /// If it is about a cluster that is closed.
    pub(super) fn append(
        &mut self,
        at: Timestamp,
        journal: JournalId,
        records: &[Record],
    ) -> Result<(), String> {
        if !self.files.contains_key(&journal)
            && journal != JournalId::Common
            && !records.first().is_some_and(Record::begins_journal)
        {
            return Err(format!("{records:?} of a cluster that is closed"));
        }
        let file = self.files.entry(journal).or_default();
        let line = file.writer.batch(at, records);
        self.written += line.len() as u64;
        file.bytes.extend_from_slice(&line);
        file.growth.add(line.len() as u64);
        file.next += 1;
        for record in records {
            self.durable.apply(record);
            if let Record::Common(CommonRecord::ClusterClosed { cluster, .. }) = record {
                self.files.remove(&JournalId::Cluster(*cluster));
            }
        }
        let Some(file) = self.files.get_mut(&journal) else { return Ok(()) };
        if file.growth.is_due()
            && let Some(snapshot) = self.durable.snapshot(journal)
        {
            file.bytes = file.writer.snapshot(at, &snapshot);
            file.next += 1;
            file.growth = Growth::default();
        }
        Ok(())
    }

    /// The process dies while it writes: only a part of the line is there.
    pub(super) fn tear(
        &mut self,
        at: Timestamp,
        journal: JournalId,
        records: &[Record],
        part: u64,
    ) {
        let file = self.files.entry(journal).or_default();
        let mut writer = Writer::new(file.next);
        let line = writer.batch(at, records);
        let kept = usize::try_from(part % line.len() as u64).unwrap_or(0);
        file.bytes.extend_from_slice(&line[..kept]);
    }

    /// Reads everything as a starting process does; says how many journals had a torn end.
    ///
    /// # Errors
    ///
    /// What the journal says about damage.
    pub(super) fn read(&mut self) -> Result<(Durable, usize), String> {
        let mut durable = Durable::default();
        let mut torn = 0;
        for (id, file) in &mut self.files {
            let found = journal::read(*id, &file.bytes, &mut durable)
                .map_err(|damage| damage.to_string())?;
            file.bytes.truncate(found.valid_len);
            file.writer = Writer::new(found.next_seq);
            file.next = found.next_seq;
            file.growth = found.growth;
            torn += usize::from(found.torn.is_some());
        }
        durable.forget_closed();
        self.files.retain(|id, _| match id {
            JournalId::Common => true,
            JournalId::Cluster(cluster) => durable.clusters().contains_key(cluster),
        });
        self.durable = durable.clone();
        Ok((durable, torn))
    }

    /// What was written folds to this.
    pub(super) fn durable(&self) -> &Durable {
        &self.durable
    }
}
