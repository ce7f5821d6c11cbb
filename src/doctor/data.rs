//! The data directory: whether it can be written, how much room there is, and who uses it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rustix::fs::{Access, access, statvfs};

use super::{Finding, Scene};
use crate::driver::{journal::Journals, known::Known, process::Process};

/// Below this the journals and logs of a cluster's first hours may not fit.
const ROOM_MIN: u64 = 4 << 20;
const NAME: &str = "data directory";
const OTHERS_MAY_WRITE: u32 = 0o002;

pub(super) fn check(scene: &Scene) -> Vec<Finding> {
    let data = &scene.data;
    let shown = data.display();
    if let Err((what, cure)) = usable(data) {
        return vec![Finding::bad(NAME, what, cure)];
    }
    let used = Process::of(data).map(|process| process.pid);
    if Journals::are_in_use(data) && used.is_none() {
        let what = format!("another `ray-on-golem` uses `{shown}`");
        return vec![Finding::bad(NAME, what, "end it, or choose another one with `--datadir`")];
    }
    let mut what = match (data.exists(), room(data)) {
        (true, Some(room)) => format!("`{shown}` can be written, with room for {}", in_units(room)),
        (false, Some(room)) => {
            format!("`{shown}` is made at the start, with room for {}", in_units(room))
        }
        (_, None) => format!("`{shown}` can be written"),
    };
    if let Some(pid) = used {
        what.push_str(&format!("; a webserver uses it (pid {pid})"));
    }
    if let Some(pid) = Known::of(&scene.daemon).pid {
        what.push_str(&format!("; its daemon runs (pid {pid})"));
    }
    vec![Finding::good(NAME, what)]
}

/// Whether the directory, or what it is to be made in, can be written to, and has room; else why not, and what to do.
///
/// # Errors
///
/// If a webserver could not work in it.
pub fn usable(data: &Path) -> Result<(), (String, String)> {
    let shown = data.display();
    let elsewhere = || "choose another one with `--datadir`, or `RAY_ON_GOLEM_DATADIR`".to_owned();
    let there = data.ancestors().find(|path| path.exists()).unwrap_or_else(|| Path::new("/"));
    if !there.is_dir() {
        return Err((
            format!("`{}` is a file, and `{shown}` cannot be there", there.display()),
            elsewhere(),
        ));
    }
    if let Err(error) = access(there, Access::WRITE_OK | Access::EXEC_OK) {
        let why = std::io::Error::from(error);
        return Err((format!("cannot write to `{}`: {why}", there.display()), elsewhere()));
    }
    if let Some(room) = room(data).filter(|room| *room < ROOM_MIN) {
        let what = format!(
            "there is room for {} where `{shown}` is, and {} are needed",
            in_units(room),
            in_units(ROOM_MIN)
        );
        return Err((what, format!("make room, or {}", elsewhere())));
    }
    let metadata = fs::metadata(data).ok();
    let mode = metadata.map(|it| it.permissions().mode());
    if mode.is_some_and(|mode| mode & OTHERS_MAY_WRITE != 0) {
        let what =
            format!("every user of this machine may write to `{shown}`, where keys to nodes are");
        return Err((what, format!("take that from them: `chmod o-w {shown}`")));
    }
    Ok(())
}

/// The name of a user, or the number if the system's file of users has none.
#[must_use]
pub fn user_name(user: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut users = users.lines().map(|line| line.split(':'));
    let name = users.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(user)).then(|| format!("`{name}`"))
    });
    name.unwrap_or_else(|| user.to_string())
}

/// The bytes that can be written where a directory is, or is to be.
fn room(data: &Path) -> Option<u64> {
    let there = data.ancestors().find(|path| path.exists())?;
    let system = statvfs(there).ok()?;
    // Some file systems have no limit to files, and say 0 of 0.
    if system.f_files > 0 && system.f_favail == 0 {
        return Some(0);
    }
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}

fn in_units(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::{in_units, user_name};

    #[test]
    fn an_amount_is_told_in_a_unit_that_fits() {
        assert_eq!(in_units(1023), "0 KiB");
        assert_eq!(in_units(3 << 20), "3 MiB");
        assert_eq!(in_units(5 << 30), "5 GiB");
    }

    #[test]
    fn a_user_has_a_name_or_a_number() {
        assert_eq!(user_name(0), "`root`");
        assert_eq!(user_name(4_000_000), "4000000");
    }
}
