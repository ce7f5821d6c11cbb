//! The JSON documents of activities, of the commands that run in them, and of private networks.

use std::{
    collections::BTreeMap,
    net::{AddrParseError, IpAddr, Ipv4Addr},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::documents::Epoch;
use crate::yagna::{
    ids::{ActivityId, AgreementId, Checked, NetworkId, ProviderId, checked},
    model::{ActivityPhase, ActivityState, CommandResult, Deployment, ExeCommand, Network},
    prefix, words,
};

/// The body of `POST /activity`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewActivity {
    pub(super) agreement_id: AgreementId,
}

/// The answer to `POST /activity`: an object, or its id alone from old daemons.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum CreatedActivity {
    Object {
        #[serde(rename = "activityId")]
        activity_id: Checked<ActivityId>,
    },
    Id(Checked<ActivityId>),
}

/// The body of `POST /exec`: JSON in a text in JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct ScriptDocument {
    pub(super) text: String,
}

/// The document of an [`ActivityState`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StateDocument {
    state: (ActivityPhase, Option<ActivityPhase>),
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
}

/// The document of a [`CommandResult`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResultDocument {
    index: u32,
    result: String,
    #[serde(default)]
    stdout: Value,
    #[serde(default)]
    stderr: Value,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    is_batch_finished: bool,
    /// Demanded by the readers of other clients.
    #[serde(skip_deserializing)]
    event_date: Epoch,
}

/// The body of `POST /net`.
#[derive(Serialize, Deserialize)]
pub(super) struct NewNetwork {
    pub(super) ip: String,
    /// We write the length of the prefix behind the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mask: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<String>,
}

/// The body of `POST /net/{id}/nodes`.
#[derive(Serialize, Deserialize)]
pub(super) struct NewNode {
    pub(super) id: ProviderId,
    pub(super) ip: String,
}

/// The document of a [`Network`].
#[derive(Serialize, Deserialize)]
pub(super) struct NetworkDocument {
    #[serde(deserialize_with = "checked")]
    id: NetworkId,
    ip: String,
    mask: IpAddr,
    gateway: IpAddr,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeploymentDocument {
    id: NetworkId,
    ip: Ipv4Addr,
    mask: Ipv4Addr,
    node_ip: Ipv4Addr,
    #[serde(default)]
    nodes: BTreeMap<Ipv4Addr, ProviderId>,
}

/// Reads an address of either family, or says in the daemon's words why it is none.
pub(super) fn read_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(invalid)
}

fn invalid(error: AddrParseError) -> String {
    format!("Invalid IP address: {error}")
}

impl NewNetwork {
    /// An address of it, the length of its prefix, and its gateway, or in the daemon's words why it is none.
    pub(super) fn read(&self) -> Result<(IpAddr, u8, IpAddr), String> {
        let (ip, length) = self.subnet()?;
        let gateway = self.gateway.as_deref().map(read_address).transpose()?;
        Ok((ip, length, gateway.unwrap_or_else(|| prefix::first_host(ip, length))))
    }

    /// Where no length stands behind the address, one of IPv4 has that of the mask, or is one of a small network, and
    /// one of IPv6 stands alone.
    fn subnet(&self) -> Result<(IpAddr, u8), String> {
        if let Some((ip, length)) = self.ip.split_once('/') {
            let read = || {
                let (ip, bits): (IpAddr, u8) = (ip.parse().ok()?, length.parse().ok()?);
                (bits <= prefix::bits(ip) && bits.to_string() == length).then_some((ip, bits))
            };
            return read().ok_or_else(|| format!("Invalid network IP address: {}", self.ip));
        }
        match (read_address(&self.ip)?, &self.mask) {
            (ip @ IpAddr::V6(_), _) => Ok((ip, prefix::bits(ip))),
            (ip, None) => Ok((ip, 24)),
            (ip, Some(mask)) => {
                let mask: Ipv4Addr = mask.parse().map_err(invalid)?;
                Ok((ip, u8::try_from(mask.to_bits().leading_ones()).unwrap_or(u8::MAX)))
            }
        }
    }
}

/// Writes a script as the daemon passes it on.
pub(super) fn write_script(script: &[ExeCommand]) -> ScriptDocument {
    let commands: Vec<Value> = script.iter().map(write_command).collect();
    ScriptDocument { text: Value::Array(commands).to_string() }
}

/// Reads a script; commands that we never send are kept as they are.
pub(super) fn read_script(document: &ScriptDocument) -> Result<Vec<ExeCommand>, serde_json::Error> {
    let commands: Vec<Value> = serde_json::from_str(&document.text)?;
    Ok(commands.into_iter().map(|command| read_command(&command)).collect())
}

/// Reads the private networks of a command; nothing is none of them.
pub(super) fn deployments(networks: &Value) -> Option<Vec<Deployment>> {
    if networks.is_null() {
        return Some(Vec::new());
    }
    let networks: Vec<DeploymentDocument> = serde_json::from_value(networks.clone()).ok()?;
    Some(networks.into_iter().map(Into::into).collect())
}

/// Writes one command.
pub(super) fn write_command(command: &ExeCommand) -> Value {
    match command {
        ExeCommand::Deploy { networks } => {
            let networks: Vec<DeploymentDocument> = networks.iter().map(Into::into).collect();
            json!({ "deploy": { "net": networks } })
        }
        ExeCommand::Start => json!({ "start": { "args": [] } }),
        ExeCommand::Run { entry_point, args } => json!({ "run": {
            "entry_point": entry_point,
            "args": args,
            "capture": { "stdout": { "stream": {} }, "stderr": { "stream": {} } },
        } }),
        ExeCommand::Terminate => json!({ "terminate": {} }),
        ExeCommand::Other(value) => value.clone(),
    }
}

/// Reads one command; one that says what ours do not say is kept as it is.
fn read_command(command: &Value) -> ExeCommand {
    let known = read_known(command).filter(|known| {
        let bare = |it: &ExeCommand| matches!(it, ExeCommand::Start | ExeCommand::Terminate);
        bare(known) || write_command(known) == *command
    });
    known.unwrap_or_else(|| ExeCommand::Other(command.clone()))
}

/// The command, if its name is one of ours.
fn read_known(command: &Value) -> Option<ExeCommand> {
    let read = match command.as_object()?.iter().next()? {
        (name, body) if name == "deploy" => {
            ExeCommand::Deploy { networks: deployments(body.get("net")?)? }
        }
        (name, _) if name == "start" => ExeCommand::Start,
        (name, body) if name == "run" => {
            let args = body.get("args").cloned().unwrap_or_else(|| json!([]));
            ExeCommand::Run {
                entry_point: body.get("entry_point")?.as_str()?.to_owned(),
                args: serde_json::from_value(args).ok()?,
            }
        }
        (name, _) if name == "terminate" => ExeCommand::Terminate,
        _ => return None,
    };
    Some(read)
}

/// Output is text, a list of bytes, or nothing.
fn read_output(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Array(bytes) => {
            let bytes: Vec<u8> = bytes
                .iter()
                .filter_map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()))
                .collect();
            Some(String::from_utf8_lossy(&bytes).into_owned())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

impl From<&Deployment> for DeploymentDocument {
    fn from(deployment: &Deployment) -> Self {
        let Deployment { network, ip, mask, node_ip, nodes } = deployment.clone();
        let nodes = nodes.into_iter().collect();
        Self { id: network, ip, mask, node_ip, nodes }
    }
}

impl From<DeploymentDocument> for Deployment {
    fn from(document: DeploymentDocument) -> Self {
        let DeploymentDocument { id, ip, mask, node_ip, nodes } = document;
        Self { network: id, ip, mask, node_ip, nodes: nodes.into_iter().collect() }
    }
}

impl From<StateDocument> for ActivityState {
    fn from(document: StateDocument) -> Self {
        let StateDocument { state: (now, next), reason, error_message } = document;
        let said = |text: Option<String>| text.map(|text| words::reason(&text));
        Self { now, next, reason: said(reason), error: said(error_message) }
    }
}

impl From<&ActivityState> for StateDocument {
    fn from(state: &ActivityState) -> Self {
        let ActivityState { now, next, reason, error } = state.clone();
        Self { state: (now, next), reason, error_message: error }
    }
}

impl From<ResultDocument> for CommandResult {
    fn from(document: ResultDocument) -> Self {
        Self {
            index: document.index,
            is_ok: document.result == "Ok",
            stdout: read_output(document.stdout),
            stderr: read_output(document.stderr),
            message: document.message,
            is_batch_finished: document.is_batch_finished,
        }
    }
}

impl From<&CommandResult> for ResultDocument {
    fn from(result: &CommandResult) -> Self {
        let output = |text: &Option<String>| text.clone().map_or(Value::Null, Value::String);
        Self {
            index: result.index,
            result: if result.is_ok { "Ok" } else { "Error" }.to_owned(),
            stdout: output(&result.stdout),
            stderr: output(&result.stderr),
            message: result.message.clone(),
            is_batch_finished: result.is_batch_finished,
            event_date: Epoch,
        }
    }
}

impl From<NetworkDocument> for Network {
    fn from(document: NetworkDocument) -> Self {
        let NetworkDocument { id, ip, mask, gateway } = document;
        Self { id, ip, mask, gateway }
    }
}

impl From<&Network> for NetworkDocument {
    fn from(network: &Network) -> Self {
        let Network { id, ip, mask, gateway } = network.clone();
        Self { id, ip, mask, gateway }
    }
}
