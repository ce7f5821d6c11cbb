//! The files that a node sees: the host's system, read-only, with everything that a machine has for itself
//! on a disk of its own.
//!
//! The disk is a file system in memory, limited to what the provider lends. It belongs to the node's mount
//! namespace, so it is gone with the node's last process, and nothing of it is ever on the host.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use rustix::{
    fs::statvfs,
    mount::{
        MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_remount, unmount,
    },
    process::{chdir, pivot_root},
};

use super::orders::{Birth, SUPPORT};

/// The root of the host, and of the node to be, while it is built.
const OLD: &str = "/old";
const NEW: &str = "/new";
/// Directories of the root that a node has for itself.
const OWN: [&str; 12] =
    ["dev", "etc", "golem", "home", "opt", "proc", "root", "root_copy", "run", "sys", "tmp", "var"];
/// Directories of `/var` that a node has for itself.
const OWN_VARIABLE: [&str; 2] = ["log", "tmp"];
/// What is bound from the host's `/dev`.
const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];

/// Builds the files of a node, and moves this process and all it will start there.
pub(super) fn enter(birth: &Birth) -> io::Result<()> {
    step_aside()?;
    let disk = format!("mode=755,size={}", birth.spec.disk);
    mount("node", NEW, "tmpfs", MountFlags::NOSUID, text(&disk)?.as_c_str())?;
    mirror(Path::new("/"), |name| OWN.contains(&name))?;
    own_directories()?;
    mirror(Path::new("/var"), |name| OWN_VARIABLE.contains(&name))?;
    mirror(Path::new("/opt"), |_| false)?;
    copy_settings(&Path::new(OLD).join("etc"), &Path::new(NEW).join("etc"))?;
    processes()?;
    devices(birth.spec.memory)?;
    limits(birth)?;
    for path in &birth.visible {
        show(path)?;
    }
    if let Some(venv) = &birth.venv {
        show_writable(venv)?;
    }
    // The host's root is what is stacked under the new one.
    chdir(NEW)?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")?;
    settle(birth)?;
    // What the image of a volume is mounted on is there or not, and may be the host's.
    birth.spec.volumes.iter().try_for_each(fs::create_dir_all)
}

/// Fills the disk to what is on it, or gives it its size back.
pub(super) fn fill(is_full: bool, size: u64) -> io::Result<()> {
    let disk = statvfs("/")?;
    let used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize;
    let size = if is_full { used.max(disk.f_frsize) } else { size };
    let options = text(&format!("size={size}"))?;
    Ok(mount_remount("/", MountFlags::NOSUID, options.as_c_str())?)
}

/// Writes what tells Ray how much processor and memory there is.
fn limits(birth: &Birth) -> io::Result<()> {
    bind_tree(Path::new("/sys"))?;
    let directory = Path::new(NEW).join("sys/fs/cgroup");
    mount("cgroup", &directory, "tmpfs", MountFlags::NOSUID, c"mode=755,size=1m")?;
    let (threads, memory) = (birth.spec.threads, birth.spec.memory);
    let processor = format!("{} 100000\n", u64::from(threads) * 100_000);
    let statistics = "anon 0\nfile 0\nshmem 0\ninactive_anon 0\nactive_anon 0\ninactive_file 0\n\
                      active_file 0\n";
    let files = [
        ("cgroup.controllers", "cpu memory\n".to_owned()),
        ("cpu.max", processor),
        ("memory.current", "0\n".to_owned()),
        ("memory.max", format!("{memory}\n")),
        ("memory.stat", statistics.to_owned()),
    ];
    for (name, content) in files {
        fs::write(directory.join(name), content)?;
    }
    make_read_only(&directory)
}

/// Makes room: the host's root goes to `/old`, and `/new` is empty.
fn step_aside() -> io::Result<()> {
    // Any directory of the host does; after the pivot, what it holds is seen again.
    let scaffold = Path::new("/tmp");
    mount("scaffold", scaffold, "tmpfs", MountFlags::NOSUID, c"mode=755,size=1m")?;
    for name in [OLD, NEW] {
        fs::create_dir(scaffold.join(&name[1..]))?;
    }
    chdir(scaffold)?;
    pivot_root(".", &OLD[1..])?;
    Ok(chdir("/")?)
}

fn own_directories() -> io::Result<()> {
    let directories: [(&str, u32); 14] = [
        ("etc", 0o755),
        ("golem", 0o755),
        ("home", 0o755),
        ("opt", 0o755),
        ("proc", 0o555),
        ("root", 0o700),
        ("root_copy", 0o700),
        ("run", 0o755),
        ("run/lock", 0o1777),
        ("sys", 0o555),
        ("tmp", 0o1777),
        ("var", 0o755),
        ("var/log", 0o755),
        ("var/tmp", 0o1777),
    ];
    for (name, mode) in directories {
        let path = Path::new(NEW).join(name);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Binds what is in a directory of the host, so that the node can add entries of its own.
fn mirror(directory: &Path, is_own: impl Fn(&str) -> bool) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(old(directory)) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let path = directory.join(entry.file_name());
        if entry.file_name().to_str().is_some_and(&is_own) || new(&path).exists() {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            symlink(fs::read_link(old(&path))?, new(&path))?;
        } else if kind.is_dir() {
            fs::create_dir(new(&path))?;
            bind_tree(&path)?;
        } else if kind.is_file() {
            fs::File::create_new(new(&path))?;
            bind_tree(&path)?;
        }
    }
    Ok(())
}

/// Copies the host's settings, since a node changes its own; what we may not read, and the keys of the
/// host's ssh server, stay away.
fn copy_settings(from: &Path, to: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else if kind.is_dir() {
            fs::DirBuilder::new().mode(0o755).create(&target)?;
            copy_settings(&source, &target)?;
        } else if kind.is_file() && !entry.file_name().as_encoded_bytes().starts_with(b"ssh_host_")
        {
            match fs::copy(&source, &target) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    let _ = fs::remove_file(&target);
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn processes() -> io::Result<()> {
    let proc = Path::new(NEW).join("proc");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", &proc, "proc", flags, None)?;
    // Whoever is root on the host could change the host's kernel there.
    for name in ["sys", "sysrq-trigger"] {
        let path = proc.join(name);
        if path.exists() {
            mount_bind_recursive(&path, &path)?;
            make_read_only(&path)?;
        }
    }
    Ok(())
}

fn devices(memory: u64) -> io::Result<()> {
    let directory = Path::new(NEW).join("dev");
    fs::create_dir(&directory)?;
    mount("dev", &directory, "tmpfs", MountFlags::NOSUID, c"mode=755,size=1m")?;
    for name in DEVICES {
        fs::File::create_new(directory.join(name))?;
        mount_bind(Path::new(OLD).join("dev").join(name), directory.join(name))?;
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        symlink(target, directory.join(name))?;
    }
    for name in ["pts", "shm"] {
        fs::create_dir(directory.join(name))?;
    }
    let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
    let options = c"newinstance,ptmxmode=0666,mode=0620";
    mount("devpts", directory.join("pts"), "devpts", terminals, options)?;
    let shared = MountFlags::NOSUID | MountFlags::NODEV;
    let options = text(&format!("mode=1777,size={memory}"))?;
    mount("shm", directory.join("shm"), "tmpfs", shared, options.as_c_str())?;
    Ok(())
}

/// Shows a path of the host at the same place, read-only, if nothing else of the host shows it.
fn show(path: &Path) -> io::Result<()> {
    if new(path).exists() || !old(path).exists() {
        return Ok(());
    }
    fs::create_dir_all(new(path))?;
    bind_tree(path)
}

/// Shows a directory of the host at the same place; what the node writes there, it writes to its own disk.
fn show_writable(path: &Path) -> io::Result<()> {
    fs::create_dir_all(new(path))?;
    let layers = Path::new(NEW).join(&SUPPORT[1..]).join("layers");
    let (upper, work) = (layers.join("upper"), layers.join("work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    for place in installed_to(&old(path)) {
        make_own(&upper, &place)?;
    }
    let escaped = |path: &Path| path.to_string_lossy().replace(',', "\\,").replace(':', "\\:");
    let options = format!(
        "userxattr,lowerdir={},upperdir={},workdir={}",
        escaped(&old(path)),
        escaped(&upper),
        escaped(&work)
    );
    let options = text(&options)?;
    match mount("overlay", new(path), "overlay", MountFlags::NOSUID, options.as_c_str()) {
        Ok(()) => Ok(()),
        // Kernels before 5.11 refuse it to ordinary users, who then cannot write there.
        Err(_) => bind_tree(path),
    }
}

/// Where packages and programs are installed in a virtual environment, below it.
fn installed_to(venv: &Path) -> Vec<PathBuf> {
    let packages = super::directory::packages(venv).into_iter();
    let packages = packages.filter_map(|it| it.strip_prefix(venv).map(Path::to_owned).ok());
    packages.chain([PathBuf::from("bin")]).collect()
}

/// Makes a directory of the upper layer, with those above it: in an environment of another user's, root of the node can only
/// write to what is its own.
fn make_own(upper: &Path, place: &Path) -> io::Result<()> {
    let mut made = upper.to_owned();
    for name in place {
        made.push(name);
        match fs::create_dir(&made) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => fs::set_permissions(&made, fs::Permissions::from_mode(0o755))?,
        }
    }
    Ok(())
}

/// Binds a path of the host with all that is mounted below it, read-only.
fn bind_tree(path: &Path) -> io::Result<()> {
    let shown = mount_bind_recursive(old(path), new(path)).map_err(io::Error::from);
    let shown = shown.and_then(|()| make_read_only(&new(path)));
    shown.map_err(|error| io::Error::other(format!("cannot show {}: {error}", path.display())))
}

/// Remounts everything at and below a path; a mount keeps its other restrictions, or the kernel refuses.
fn make_read_only(top: &Path) -> io::Result<()> {
    for (path, flags) in mounts_below(top)? {
        let flags = flags | MountFlags::BIND | MountFlags::RDONLY;
        match mount_remount(&path, flags, c"") {
            Ok(()) => {}
            // What is hidden under another mount cannot be reached by the node either.
            Err(_) if path != top => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Mount points at and below a path, with their flags, as proc(5) tells them.
fn mounts_below(top: &Path) -> io::Result<Vec<(PathBuf, MountFlags)>> {
    let table = fs::read_to_string(Path::new(OLD).join("proc/self/mountinfo"))?;
    let rows = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let path = PathBuf::from(unescape(fields.get(4)?));
        Some((path, flags(fields.get(5)?)))
    });
    Ok(rows.filter(|(path, _)| path.starts_with(top)).collect())
}

/// The flags of a mount. Those that are missing here are not for a mount, but for its file system.
fn flags(options: &str) -> MountFlags {
    let known = [
        ("nosuid", MountFlags::NOSUID),
        ("nodev", MountFlags::NODEV),
        ("noexec", MountFlags::NOEXEC),
        ("noatime", MountFlags::NOATIME),
        ("nodiratime", MountFlags::NODIRATIME),
        ("relatime", MountFlags::RELATIME),
    ];
    let has = |word: &str| options.split(',').any(|option| option == word);
    let found = known.into_iter().filter(|(word, _)| has(word));
    let flags = found.fold(MountFlags::empty(), |flags, (_, flag)| flags | flag);
    // What the kernel has no word for, because it once was the only way.
    let is_strict = !has("noatime") && !has("relatime");
    if is_strict { flags | MountFlags::STRICTATIME } else { flags }
}

/// The kernel writes spaces and the like as three octal digits.
fn unescape(field: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(field.to_owned(), |field, (code, plain)| field.replace(code, plain))
}

/// Writes the settings of this node, in its own root.
fn settle(birth: &Birth) -> io::Result<()> {
    let spec = &birth.spec;
    let (name, address) = (&spec.hostname, spec.address);
    fs::write("/etc/hostname", format!("{name}\n"))?;
    fs::write("/etc/hosts", format!("127.0.0.1 localhost\n{address} {name}\n"))?;
    fs::write("/etc/environment", "")?;
    fs::create_dir_all("/etc/ssh")?;
    fs::create_dir_all("/etc/profile.d")?;
    let path = birth.path();
    // A login shell sets a PATH of its own first; an image's `.bashrc` sets Ray's.
    fs::write("/etc/profile.d/golem-sim.sh", format!("PATH={path}\nexport PATH\n"))?;
    fs::write("/root_copy/.bashrc", format!("export PATH={path}\n"))?;
    fs::write("/root_copy/.profile", "if [ -f ~/.bashrc ]; then . ~/.bashrc; fi\n")?;
    let programs = Path::new(SUPPORT).join("bin");
    fs::create_dir_all(&programs)?;
    let service = "#!/bin/sh\n\
        # The ssh server of a stand-in node is its first process.\n\
        case \"$1 $2\" in\n\
        'ssh start'|'ssh restart'|'sshd start'|'sshd restart') exec /proc/1/exe node-call ssh ;;\n\
        *) echo \"service: a stand-in node has only ssh start and ssh restart\" >&2; exit 1 ;;\n\
        esac\n";
    script(&programs.join("service"), service)?;
    script(&programs.join("sshd"), "#!/bin/sh\nexec /proc/1/exe node-call ssh\n")?;
    if !has_all_users()? {
        let receive = format!(
            "#!/bin/sh\n\
            # This node has one user, so what arrives is its own, whoever had it before.\n\
            PATH=${{PATH#*{SUPPORT}/bin:}}\n\
            case \"$1 $2\" in\n\
            '--server --sender') ;;\n\
            --server*) shift; set -- --server '--usermap=*:0' '--groupmap=*:0' \"$@\" ;;\n\
            esac\n\
            exec rsync \"$@\"\n"
        );
        script(&programs.join("rsync"), &receive)?;
    }
    Ok(())
}

/// Whether files can belong to anybody, as where root made the node.
fn has_all_users() -> io::Result<bool> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    Ok(map.split_whitespace().last() == Some("4294967295"))
}

fn script(path: &Path, content: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o755).open(path)?;
    io::Write::write_all(&mut file, content.as_bytes())
}

fn old(path: &Path) -> PathBuf {
    Path::new(OLD).join(path.strip_prefix("/").unwrap_or(path))
}

fn new(path: &Path) -> PathBuf {
    Path::new(NEW).join(path.strip_prefix("/").unwrap_or(path))
}

fn text(options: &str) -> io::Result<std::ffi::CString> {
    Ok(std::ffi::CString::new(options)?)
}

#[cfg(test)]
mod tests {
    use rustix::mount::MountFlags;

    use super::{flags, unescape};

    #[test]
    fn a_mount_keeps_its_restrictions() {
        assert_eq!(flags("rw,nosuid,relatime"), MountFlags::NOSUID | MountFlags::RELATIME);
        assert_eq!(flags("ro,nodev"), MountFlags::NODEV | MountFlags::STRICTATIME);
    }

    #[test]
    fn mount_points_with_spaces_are_read() {
        assert_eq!(unescape("/a\\040b\\134c"), "/a b\\c");
    }
}
