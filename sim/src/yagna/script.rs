//! What a script orders an activity to do, with all that other clients say beside what ours do, and
//! what becomes of the output of a program.
//!
//! The rules are those of the execution unit of yagna 0.17.6 (`exe-unit/src/output.rs`,
//! `exe-unit/src/exe_unit.rs`): output that a command does not ask for is thrown away, the rest is kept
//! whole or in part for the result, and told as it comes only if the command asks for a stream.

use ray_on_golem::yagna::{ActivityPhase, Deployment, ExeCommand, wire};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

/// A command, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Sign what was done so far.
    Sign,
    /// Fetch the image, join private networks, and make directories.
    Deploy { networks: Vec<Deployment>, volumes: Vec<String> },
    /// Start the container.
    Start { args: Vec<String> },
    /// Run a program in the container.
    Run { entry_point: String, args: Vec<String>, capture: [Capture; 2] },
    /// Copy a file to or from the container.
    Transfer { from: String, to: String },
    /// End the container.
    Terminate,
}

/// A command that runs, as the daemon names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningCommand {
    /// Its name.
    pub name: &'static str,
    /// What it is told, if that is told.
    pub params: Option<Vec<String>>,
}

/// What is wanted of one of the two outputs of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Capture {
    /// So many bytes of its beginning; none: all of it.
    head: Option<usize>,
    /// So many bytes of its end, behind its beginning.
    tail: usize,
    /// Whether it is told as it comes.
    pub(super) is_streamed: bool,
    /// Whether it is told as bytes.
    pub(super) is_binary: bool,
}

/// What is kept of one of the two outputs of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    capture: Capture,
    head: Vec<u8>,
    tail: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Document {
    Sign(IgnoredAny),
    Deploy(Value),
    Start(Value),
    Run(RunDocument),
    Transfer(TransferDocument),
    Terminate(IgnoredAny),
}

#[derive(Deserialize)]
struct RunDocument {
    entry_point: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    capture: Value,
}

#[derive(Deserialize)]
struct TransferDocument {
    from: String,
    to: String,
}

impl Order {
    /// Reads a command; none if no execution unit knows it.
    pub(super) fn of(command: &ExeCommand) -> Option<Self> {
        let streamed = Capture { is_streamed: true, ..Capture::ALL };
        Some(match command {
            ExeCommand::Deploy { networks } => {
                Self::Deploy { networks: networks.clone(), volumes: Vec::new() }
            }
            ExeCommand::Start => Self::Start { args: Vec::new() },
            ExeCommand::Run { entry_point, args } => Self::Run {
                entry_point: entry_point.clone(),
                args: args.clone(),
                capture: [streamed; 2],
            },
            ExeCommand::Terminate => Self::Terminate,
            ExeCommand::Other(value) => match serde_json::from_value(value.clone()).ok()? {
                Document::Sign(_) => Self::Sign,
                Document::Deploy(body) => Self::Deploy {
                    networks: wire::deployments(body.get("net").unwrap_or(&Value::Null))?,
                    volumes: volumes(body.get("volumes").unwrap_or(&Value::Null)),
                },
                Document::Start(body) => {
                    let args = body.get("args").cloned().unwrap_or_default();
                    Self::Start { args: serde_json::from_value(args).unwrap_or_default() }
                }
                Document::Run(RunDocument { entry_point, args, capture }) => Self::Run {
                    entry_point,
                    args,
                    capture: ["stdout", "stderr"].map(|name| Capture::read(&capture[name])),
                },
                Document::Transfer(TransferDocument { from, to }) => Self::Transfer { from, to },
                Document::Terminate(_) => Self::Terminate,
            },
        })
    }

    /// Whether it is possible as things stand. Two commands are possible at any time.
    pub(super) fn is_possible(&self, phase: ActivityPhase) -> bool {
        match self {
            Self::Sign | Self::Terminate => true,
            Self::Deploy { .. } => phase == ActivityPhase::Initialized,
            Self::Start { .. } => phase == ActivityPhase::Deployed,
            Self::Run { .. } | Self::Transfer { .. } => phase == ActivityPhase::Ready,
        }
    }

    /// Where an activity is going while it runs.
    pub(super) const fn leads_to(&self) -> Option<ActivityPhase> {
        match self {
            Self::Deploy { .. } => Some(ActivityPhase::Deployed),
            Self::Start { .. } | Self::Run { .. } | Self::Transfer { .. } => {
                Some(ActivityPhase::Ready)
            }
            Self::Sign | Self::Terminate => None,
        }
    }

    /// What is kept of its outputs: all, but of a program's.
    pub(super) fn outputs(&self) -> [Kept; 2] {
        let streamed = Capture { is_streamed: true, ..Capture::ALL };
        let capture = match self {
            Self::Run { capture, .. } => *capture,
            Self::Sign
            | Self::Deploy { .. }
            | Self::Start { .. }
            | Self::Transfer { .. }
            | Self::Terminate => [streamed; 2],
        };
        capture.map(|capture| Kept { capture, ..Kept::default() })
    }

    /// It as the daemon names it while it runs.
    pub(super) fn running(&self) -> RunningCommand {
        let (name, params) = match self {
            Self::Sign => ("Sign", None),
            Self::Deploy { .. } => ("Deploy", None),
            Self::Start { args } => ("Start", Some(args.clone())),
            Self::Run { entry_point, args, .. } => {
                ("Run", Some([entry_point].into_iter().chain(args).cloned().collect()))
            }
            Self::Transfer { from, to } => ("Transfer", Some(vec![from.clone(), to.clone()])),
            Self::Terminate => ("Terminate", None),
        };
        RunningCommand { name, params }
    }
}

/// The paths of volumes, which are listed, or are keys with details that only a real one needs.
fn volumes(value: &Value) -> Vec<String> {
    match value {
        Value::Array(paths) => {
            paths.iter().filter_map(|path| Some(path.as_str()?.to_owned())).collect()
        }
        Value::Object(paths) => paths.keys().cloned().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

impl Capture {
    const ALL: Self = Self { head: None, tail: 0, is_streamed: false, is_binary: false };
    const NONE: Self = Self { head: Some(0), ..Self::ALL };

    /// Reads what is wanted; nothing said: nothing wanted.
    fn read(value: &Value) -> Self {
        let (details, is_streamed) = match (value.get("stream"), value.get("atEnd")) {
            (Some(details), _) => (details, true),
            (None, Some(details)) => (details, false),
            (None, None) => return Self::NONE,
        };
        let size = |key: &str| {
            let number = details.get(key).and_then(Value::as_u64);
            number.map(|number| usize::try_from(number).unwrap_or(usize::MAX))
        };
        let (head, tail) = match (size("limit"), size("head"), size("tail"), size("headTail")) {
            (Some(limit), ..) if is_streamed => (Some(limit), 0),
            (_, Some(head), ..) if !is_streamed => (Some(head), 0),
            (_, _, Some(tail), _) if !is_streamed => (Some(0), tail),
            // Of an odd number the beginning has one more.
            (_, _, _, Some(both)) if !is_streamed => (Some(both.div_ceil(2)), both / 2),
            (_, _, _, _) => (None, 0),
        };
        let format = details.get("format").and_then(Value::as_str).unwrap_or_default();
        Self { head, tail, is_streamed, is_binary: matches!(format, "bin" | "binary") }
    }
}

impl Kept {
    pub(super) const NOTHING: Self =
        Self { capture: Capture::NONE, head: Vec::new(), tail: Vec::new() };

    /// Takes more output; tells what of it is told at once.
    pub(super) fn write<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let room = self.capture.head.map_or(usize::MAX, |head| head - self.head.len());
        let (first, rest) = bytes.split_at(bytes.len().min(room));
        self.head.extend_from_slice(first);
        if self.capture.tail > 0 {
            self.tail.extend_from_slice(rest);
            let surplus = self.tail.len().saturating_sub(self.capture.tail);
            self.tail.drain(..surplus);
        }
        if self.capture.is_streamed { first } else { &[] }
    }

    /// What the result tells, if there is something.
    pub(super) fn told(&self) -> Option<Vec<u8>> {
        let told = [self.head.as_slice(), self.tail.as_slice()].concat();
        (!told.is_empty()).then_some(told)
    }

    pub(super) const fn is_binary(&self) -> bool {
        self.capture.is_binary
    }
}

/// Output as text. In a result the execution unit takes what is no UTF-8 for Latin-1.
pub(super) fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| error.as_bytes().iter().map(|byte| char::from(*byte)).collect())
}

#[cfg(test)]
mod tests {
    use ray_on_golem::yagna::ExeCommand;
    use serde_json::{Value, json};

    use super::{Capture, Kept, Order, text};

    /// What is told as it comes, and what the result tells.
    fn told(capture: &Value, pieces: &[&str]) -> (String, Option<String>) {
        let mut kept = Kept { capture: Capture::read(capture), ..Kept::default() };
        let streamed: Vec<&[u8]> =
            pieces.iter().map(|piece| kept.write(piece.as_bytes())).collect();
        (text(streamed.concat()), kept.told().map(text))
    }

    #[test]
    fn of_an_output_as_much_is_kept_and_told_as_is_wanted() {
        let pieces = ["abc", "defg", "h"];
        let table = [
            (Value::Null, "", None),
            (json!({ "stream": {} }), "abcdefgh", Some("abcdefgh")),
            (json!({ "stream": { "limit": 5 } }), "abcde", Some("abcde")),
            (json!({ "stream": { "limit": 0 } }), "", None),
            (json!({ "atEnd": {} }), "", Some("abcdefgh")),
            (json!({ "atEnd": { "head": 2 } }), "", Some("ab")),
            (json!({ "atEnd": { "tail": 3 } }), "", Some("fgh")),
            (json!({ "atEnd": { "tail": 99 } }), "", Some("abcdefgh")),
            (json!({ "atEnd": { "headTail": 5 } }), "", Some("abcgh")),
        ];
        for (capture, streamed, result) in table {
            let wanted = (streamed.to_owned(), result.map(str::to_owned));
            assert_eq!(told(&capture, &pieces), wanted, "{capture}");
        }
    }

    #[test]
    fn other_clients_commands_are_read_whole() {
        let command = json!({ "run": {
            "entry_point": "/bin/sh",
            "capture": { "stdout": { "atEnd": { "head": 3, "format": "binary" } } },
        } });

        let order = Order::of(&ExeCommand::Other(command)).expect("a command");

        let stdout = Capture { head: Some(3), is_binary: true, ..Capture::ALL };
        let stderr = Capture { head: Some(0), ..Capture::ALL };
        let capture = [stdout, stderr];
        let wanted = Order::Run { entry_point: "/bin/sh".to_owned(), args: Vec::new(), capture };
        assert_eq!(order, wanted);
    }

    #[test]
    fn what_nobody_knows_is_no_command() {
        assert_eq!(Order::of(&ExeCommand::Other(json!({ "fly": {} }))), None);
        assert_eq!(Order::of(&ExeCommand::Other(json!({ "run": {} }))), None);
    }
}
