//! `service`: the webserver as a service of the user's systemd, which starts it with the machine and after a crash.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    path::Path,
};

use clap::{Args, Subcommand};

use super::{error::CliError, printer::Printer, served::Served, surroundings, webserver::Common};
use crate::{driver::process::Process, files};

const UNIT: &str = "ray-on-golem.service";
/// What the webserver reads of its environment, and a service would not have.
const VARIABLES: [&str; 14] = [
    "PATH",
    "GSB_URL",
    "GOLEM_REGISTRY_URL",
    "GOLEM_REPUTATION_URL",
    "YAGNA_ACTIVITY_URL",
    "YAGNA_API_URL",
    "YAGNA_APPKEY",
    "YAGNA_APPNAME",
    "YAGNA_DATADIR",
    "YAGNA_MARKET_URL",
    "YAGNA_NET_URL",
    "YAGNA_PATH",
    "YAGNA_PAYMENT_URL",
    "XDG_DATA_HOME",
];

/// Arguments of `service`.
#[derive(Args, Debug)]
pub(super) struct Service {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Writes a systemd unit of the user, with these options and what the environment says now
    Install(Box<Install>),
}

#[derive(Args, Debug)]
struct Install {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    served: Served,
    /// Print the unit, and write nothing
    #[arg(long)]
    print: bool,
}

impl Service {
    pub(super) fn run(self, printer: &mut Printer) -> Result<(), CliError> {
        let What::Install(install) = self.what;
        install.run(printer)
    }
}

impl Install {
    fn run(self, printer: &mut Printer) -> Result<(), CliError> {
        let data = self.common.data()?;
        let mut words: Vec<OsString> = vec![env::current_exe()?.into()];
        words.extend(["webserver".into(), "--port".into(), self.common.port.to_string().into()]);
        words.extend(["--datadir".into(), data.clone().into()]);
        words.extend(self.served.arguments()?);
        let set = |name| Some((name, env::var_os(name).filter(|it| !it.is_empty())?));
        let unit = unit(&words, &VARIABLES.into_iter().filter_map(set).collect::<Vec<_>>())?;
        if self.print {
            return printer.print(&unit);
        }
        let path = surroundings::config_directory()?.join("systemd/user").join(UNIT);
        // The key to the daemon may be in it.
        files::replace(&path, unit.as_bytes(), 0o600).map_err(|error| unwritable(&path, &error))?;
        let hand_over = match Process::of(&data) {
            Some(_) => format!(
                "   ray-on-golem stop --keep-clusters --port {}   # the webserver that runs now; its clusters go on\n",
                self.common.port
            ),
            None => String::new(),
        };
        printer.print(&format!(
            "`{}` is written. To have systemd run it:\n\
             {hand_over}   systemctl --user daemon-reload\n   \
             systemctl --user enable --now {UNIT}\n   \
             loginctl enable-linger   # if it is to run while you are not logged in\n\
             After an update, `systemctl --user restart {UNIT}` runs the new version, and clusters go on. `ray-on-golem \
             stop --force` ends it with all clusters.\n",
            path.display()
        ))
    }
}

/// The text of the unit.
fn unit(words: &[OsString], environment: &[(&str, OsString)]) -> Result<String, CliError> {
    let words: Result<Vec<_>, _> = words.iter().map(|word| quoted(word, "$")).collect();
    let mut variables = String::new();
    for (name, value) in environment {
        let pair: OsString = [OsStr::new(name), OsStr::new("="), value].into_iter().collect();
        variables.push_str(&format!("Environment={}\n", quoted(&pair, "")?));
    }
    Ok(format!(
        "[Unit]\n\
         Description=Ray clusters on the Golem Network\n\
         \n\
         [Service]\n\
         ExecStart={}\n\
         {variables}\
         # The daemon and its nodes outlive the webserver, as clusters go on without it for some minutes.\n\
         KillMode=process\n\
         TimeoutStopSec=60\n\
         Restart=on-failure\n\
         RestartSec=5\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n",
        words?.join(" ")
    ))
}

/// A word as systemd reads it back: it takes `%`, backslashes, and quotes for its own, and in commands `$`.
fn quoted(word: &OsStr, also_doubled: &str) -> Result<String, CliError> {
    let is_line = |text: &&str| !text.contains(char::is_control);
    let text = word.to_str().filter(is_line).ok_or_else(|| {
        CliError::Argument(format!("`{}` cannot stand in a unit of systemd", word.display()))
    })?;
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '%' => quoted.push_str("%%"),
            char if also_doubled.contains(char) => quoted.extend([char, char]),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    Ok(quoted)
}

fn unwritable(path: &Path, error: &io::Error) -> CliError {
    CliError::Environment {
        what: format!("cannot write `{}`: {error}", path.display()),
        hint: "look whether you may write there; `--print` prints the unit".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::unit;

    #[test]
    fn a_unit_has_each_word_as_systemd_reads_it() {
        let words = ["/opt/a b/ray-on-golem", "--datadir", r#"/data/5%/$HOME/"q"\"#];
        let environment = [("PATH", "/usr/bin:/opt/100%".into()), ("YAGNA_APPKEY", "a$b".into())];

        let unit = unit(&words.map(Into::into), &environment).expect("all can be written");

        let lines: Vec<&str> = unit.lines().filter(|line| line.contains('"')).collect();
        assert_eq!(
            lines,
            [
                r#"ExecStart="/opt/a b/ray-on-golem" "--datadir" "/data/5%%/$$HOME/\"q\"\\""#,
                r#"Environment="PATH=/usr/bin:/opt/100%%""#,
                r#"Environment="YAGNA_APPKEY=a$b""#,
            ]
        );
        assert!(unit.contains("\nKillMode=process\n"), "{unit}");
    }

    #[test]
    fn a_word_of_two_lines_is_refused() {
        assert!(unit(&["a\nb".into()], &[]).is_err());
    }
}
