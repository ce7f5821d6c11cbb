//! The files of a node that is only a directory of the host: what a node has for itself, and programs that stand in for
//! those that take the machine for their own.

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink},
    path::{Path, PathBuf},
};

use super::orders::{Birth, SUPPORT};

/// Ray's command line within the node.
const RAY: &str = include_str!("ray.py");
/// What the node has for itself from the beginning.
const OWN: [&str; 9] = [
    "etc/profile.d",
    "etc/ray_on_golem",
    "etc/ssh",
    "root",
    "root_copy",
    "run",
    "tmp",
    "var/log",
    "var/tmp",
];
/// Ray's sockets are below a node's temporary directory, and the kernel takes paths of at most 107 bytes for them.
const PARENT_LENGTH_MAX: usize = 10;

/// Makes a directory that no other user has, for the nodes of a network.
pub(super) fn for_network() -> io::Result<PathBuf> {
    let usual = env::temp_dir();
    let is_short = usual.as_os_str().len() <= PARENT_LENGTH_MAX;
    let parent = if is_short { usual } else { PathBuf::from("/tmp") };
    loop {
        let path = parent.join(format!("golem-{:06x}", rand::random::<u32>() & 0xff_ffff));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let words = format!("cannot make the directory {}: {error}", path.display());
                return Err(io::Error::other(words));
            }
        }
    }
}

/// Removes what is left of a node, or of a network.
pub(super) fn remove(path: &Path) {
    // A process that is just ending may still write; the one who ended it looks again.
    let _ = fs::remove_dir_all(path);
}

/// Makes the files of a node.
pub(super) fn make(birth: &Birth, root: &Path) -> io::Result<()> {
    for name in OWN {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root.join(name))?;
    }
    for path in &birth.spec.volumes {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(birth.ground.at(path))?;
    }
    let (name, address) = (&birth.spec.hostname, birth.spec.address);
    let ground = &birth.ground;
    fs::write(ground.at("/etc/hostname"), format!("{name}\n"))?;
    fs::write(ground.at("/etc/hosts"), format!("127.0.0.1 localhost\n{address} {name}\n"))?;
    fs::write(ground.at("/etc/environment"), "")?;
    let path = birth.path();
    fs::write(ground.at("/root_copy/.bashrc"), format!("export PATH={path}\n"))?;
    let profile = "if [ -f ~/.bashrc ]; then . ~/.bashrc; fi\n";
    fs::write(ground.at("/root_copy/.profile"), profile)?;
    programs(birth)
}

/// Variables of every process of the node, besides those that every kind of node has.
pub(super) fn variables(birth: &Birth) -> Vec<(String, String)> {
    let temporary = birth.ground.at("/tmp").display().to_string();
    let token = birth.ground.at("/etc/ray_on_golem/token").display().to_string();
    let variables = [
        ("TMPDIR", temporary.clone()),
        ("RAY_TMPDIR", temporary),
        ("RAY_ON_GOLEM_TOKEN_FILE", token),
        ("RAY_ON_GOLEM_TUNNEL_HOST", birth.spec.address.to_string()),
        ("NODE_IP", birth.spec.address.to_string()),
        ("GOLEM_SIM_NODE", std::process::id().to_string()),
    ];
    variables.map(|(name, value)| (name.to_owned(), value)).into()
}

fn programs(birth: &Birth) -> io::Result<()> {
    let ground = &birth.ground;
    let bin = ground.at(SUPPORT).join("bin");
    fs::create_dir_all(&bin)?;
    let program = quoted(&env::current_exe()?);
    let call = format!("exec {program} node-call --at {} ssh", quoted(&ground.calls()));
    let service = format!(
        "#!/bin/sh\n\
        # The ssh server of a stand-in node is its first process.\n\
        case \"$1 $2\" in\n\
        'ssh start'|'ssh restart'|'sshd start'|'sshd restart') {call} ;;\n\
        *) echo \"service: a stand-in node has only ssh start and ssh restart\" >&2; exit 1 ;;\n\
        esac\n"
    );
    script(&bin.join("service"), &service)?;
    script(&bin.join("sshd"), &format!("#!/bin/sh\n{call}\n"))?;
    ssh(birth, &bin)?;
    python(birth, &bin)
}

/// OpenSSH takes the home of its user from the table of users, where it is the host's.
fn ssh(birth: &Birth, bin: &Path) -> io::Result<()> {
    let ground = &birth.ground;
    let home = ground.at("/root");
    let [first, second, ..] = birth.spec.address.octets();
    let config = format!(
        "Include {home}/.ssh/conf*g\n\
         Host {first}.{second}.*\n  Port {port}\n\
         Host *\n  UserKnownHostsFile {home}/.ssh/known_hosts\n  IdentityFile {home}/.ssh/id_rsa\n  \
         IdentityFile {home}/.ssh/id_ed25519\n",
        home = home.display(),
        port = ground.ssh_port(),
    );
    let file = ground.at("/etc/ssh/ssh_config");
    fs::write(&file, config)?;
    let text = format!(
        "#!/bin/sh\n\
        # OpenSSH looks for `~` in the table of users, too.\n\
        PATH=${{PATH#*{SUPPORT}/bin:}}\n\
        before=\n\
        for word; do\n\
        shift\n\
        case $before$word in -i'~/'*) set -- \"$@\" \"$HOME/${{word#??}}\" ;; *) set -- \"$@\" \"$word\" ;; esac\n\
        before=$word\n\
        done\n\
        exec ssh -F {} \"$@\"\n",
        quoted(&file)
    );
    script(&bin.join("ssh"), &text)
}

/// Gives the node a virtual environment of its own, over the one that it is given: what is installed in the node stays in
/// the node.
fn python(birth: &Birth, bin: &Path) -> io::Result<()> {
    let own = birth.ground.at(SUPPORT).join("venv");
    let Some(given) = birth.venv.clone().or_else(system_python) else { return Ok(()) };
    let settings = fs::read_to_string(given.join("pyvenv.cfg"));
    let home = given.join("bin").display().to_string();
    let settings = settings
        .unwrap_or_else(|_| format!("home = {home}\ninclude-system-site-packages = true\n"));
    fs::create_dir_all(own.join("bin"))?;
    fs::write(own.join("pyvenv.cfg"), settings)?;
    let interpreter = fs::canonicalize(given.join("bin/python3"))?;
    for name in ["python", "python3"] {
        symlink(&interpreter, own.join("bin").join(name))?;
    }
    for packages in packages(&given) {
        let there = own.join(packages.strip_prefix(&given).unwrap_or(&packages));
        fs::create_dir_all(&there)?;
        if birth.venv.is_some() {
            let line =
                format!("import site; site.addsitedir({:?})\n", packages.display().to_string());
            fs::write(there.join("golem_sim.pth"), line)?;
        }
    }
    if birth.venv.is_some() {
        copy_programs(&given.join("bin"), &own.join("bin"))?;
    }
    let (threads, memory) = (birth.spec.threads, birth.spec.memory);
    let python = own.join("bin/python3");
    let head = format!("#!{}\nTHREADS = {threads}\nMEMORY = {memory}\n", python.display());
    script(&bin.join("ray"), &format!("{head}{RAY}"))
}

/// Programs of an environment name its interpreter in their first line; the node's own takes its place.
fn copy_programs(from: &Path, to: &Path) -> io::Result<()> {
    let old = format!("#!{}/", from.display());
    let new = format!("#!{}/", to.display());
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if fs::symlink_metadata(&target).is_ok() {
            continue;
        }
        match fs::read_to_string(entry.path()) {
            Ok(text) if text.starts_with(&old) => {
                script(&target, &text.replacen(&old, &new, 1))?;
            }
            // It is a program of another kind.
            Ok(_) | Err(_) => symlink(entry.path(), &target)?,
        }
    }
    Ok(())
}

/// Where the packages of an environment are.
pub(super) fn packages(venv: &Path) -> Vec<PathBuf> {
    let libraries = fs::read_dir(venv.join("lib")).into_iter().flatten().filter_map(Result::ok);
    let named = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("python3.")
    };
    libraries.map(|entry| entry.path()).filter(named).map(|it| it.join("site-packages")).collect()
}

/// What holds the `bin` of the system's Python, if there is one on the search path of nodes.
fn system_python() -> Option<PathBuf> {
    let places = ["/usr/local", "/usr"].map(PathBuf::from);
    places.into_iter().find(|place| place.join("bin/python3").is_file())
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

fn script(path: &Path, content: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o755).open(path)?;
    io::Write::write_all(&mut file, content.as_bytes())
}
