//! `exec`: a command on a node through its provider, also where ssh does not reach it.

use std::process;

use clap::Args;
use serde_json::{Value, json};

use super::{error::CliError, printer::Printer, web::Web, webserver::Common};
use crate::units::Span;

/// What the provider and the webserver need beside the command's own time.
const MARGIN: Span = Span::secs(90);

/// Arguments of `exec`.
#[derive(Args, Debug)]
pub(super) struct Exec {
    #[command(flatten)]
    common: Common,
    /// The cluster; it may be left out if there is only one
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    cluster: Option<String>,
    /// The node, such as `node1`; the default is the head
    #[arg(long, value_name = "ID")]
    node: Option<String>,
    /// How long the command may run, in seconds; it is ended then
    #[arg(long, value_name = "SECONDS", default_value_t = 300,
        value_parser = clap::value_parser!(u64).range(1..=3_600))]
    timeout: u64,
    /// The command, as for a shell; several words are joined with spaces
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Exec {
    pub(super) fn run(self, printer: &mut Printer) -> Result<(), CliError> {
        let data = self.common.data()?;
        let web = Web::new(self.common.port, &data)?;
        let cluster = match self.cluster {
            Some(cluster) => cluster,
            None => only_cluster(&web.get("/status")?)?,
        };
        let request = json!({
            "cluster_name": cluster,
            "node_id": self.node,
            "command": self.command.join(" "),
            "seconds": self.timeout,
        });
        let patience = Span::secs(self.timeout).plus(MARGIN);
        let answer = web.post_patiently("/run_command", &request, patience)?;
        let text = |key: &str| answer[key].as_str().unwrap_or_default();
        printer.print(text("stdout"))?;
        printer.quote(text("stderr"));
        match answer["exit_code"].as_i64().and_then(|code| i32::try_from(code).ok()) {
            Some(0) => Ok(()),
            Some(code) => process::exit(code),
            None => Err(CliError::Environment {
                what: "the webserver does not say how the command ended".to_owned(),
                hint: "both programs should be of one version".to_owned(),
            }),
        }
    }
}

/// The only cluster that has nodes.
fn only_cluster(status: &Value) -> Result<String, CliError> {
    let clusters = status["clusters"].as_array().map_or(&[][..], Vec::as_slice);
    let running = clusters.iter().filter(|cluster| cluster["state"] == "running");
    let names: Vec<&str> = running.filter_map(|it| it["cluster_name"].as_str()).collect();
    match names[..] {
        [only] => Ok(only.to_owned()),
        [] => Err(CliError::Argument("no cluster runs".to_owned())),
        [..] => Err(CliError::Argument(format!(
            "several clusters run ({}); say which one with `--cluster`",
            names.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::only_cluster;

    #[test]
    fn a_cluster_need_not_be_named_if_there_is_only_one() {
        let clusters = |names: &[&str]| {
            let running =
                names.iter().map(|name| json!({"cluster_name": name, "state": "running"}));
            let closed = json!({"cluster_name": "old", "state": "closed"});
            json!({"clusters": running.chain([closed]).collect::<Vec<_>>()})
        };

        assert_eq!(only_cluster(&clusters(&["a"])).expect("one"), "a");
        let error = only_cluster(&clusters(&[])).expect_err("none");
        assert_eq!(error.to_string(), "no cluster runs");
        let error = only_cluster(&clusters(&["a", "b"])).expect_err("two");
        assert_eq!(
            error.to_string(),
            "several clusters run (a, b); say which one with `--cluster`"
        );
    }
}
