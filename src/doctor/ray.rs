//! Ray and Python here, against those of the image, and what they have against the cluster file.
//!
//! Versions may differ: only `ray.init("ray://…")` needs the same.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{CheckedFile, FILE, Finding, Scene, Verdict, image, programs};

/// The versions of Ray and Python, of the node provider (`-` if there is none), and what is wrong with the cluster file
/// in the standard input, which the argument names; a line each. What lies in the working directory is not asked.
const ASK: &str = "\
import sys
if sys.path[:1] == ['']: del sys.path[0]
from importlib.metadata import version
print(version('ray'), '.'.join(map(str, sys.version_info[:2])))
try:
    from ray_on_golem import __version__ as ours
except ImportError:
    ours = '-'
print(ours)
if sys.argv[1:] and ours == sys.argv[1]:
    from ray_on_golem import file_check
    file_check.tell(sys.argv[2])
";
/// The oldest Ray that the node provider works with.
const SINCE: [u32; 2] = [2, 9];
const OURS: &str = env!("CARGO_PKG_VERSION");

/// What Ray's Python says of itself.
struct Installed {
    python: PathBuf,
    ray_version: String,
    python_version: String,
    /// The version of the node provider.
    provider: String,
    /// What is wrong with the cluster file, if one was given and the provider could look at it.
    faults: Option<Vec<String>>,
}

pub(super) async fn check(scene: &Scene) -> Vec<Finding> {
    let Some(ray) = programs::on_path(scene, "ray") else {
        let cure = "install it by `pip install 'ray[default]>=2.9.3'`, or activate the environment that it is in";
        return vec![Finding::bad("ray", "there is no `ray` on the path", cure)];
    };
    let Some(python) = interpreter(&ray) else {
        let what = format!("`{}` does not say which Python it is for", ray.display());
        return vec![Finding::note("ray", what)];
    };
    let installed = match Installed::ask(python.clone(), scene.file.as_ref()).await {
        Ok(installed) => installed,
        Err(why) => {
            let what = format!("`{}` has no Ray that can be read: {why}", python.display());
            return vec![Finding::note("ray", what)];
        }
    };
    let mut findings = vec![installed.versions(&ray, scene), installed.provider()];
    findings.extend(scene.file.iter().flat_map(|file| installed.file(file)));
    findings
}

impl Installed {
    async fn ask(python: PathBuf, file: Option<&CheckedFile>) -> Result<Self, String> {
        let arguments = match file {
            Some(file) => vec!["-c", ASK, OURS, &file.name],
            None => vec!["-c", ASK],
        };
        let input = file.map(|file| file.text.as_slice()).unwrap_or_default();
        let said = programs::output(&python, &arguments, input).await?;
        let mut lines = said.lines();
        let versions = lines.next().and_then(|line| line.split_once(' '));
        let (ray_version, python_version) =
            versions.ok_or_else(|| format!("it says `{}`", said.trim()))?;
        Ok(Self {
            python,
            ray_version: ray_version.to_owned(),
            python_version: python_version.to_owned(),
            provider: lines.next().unwrap_or("-").to_owned(),
            faults: lines.next().and_then(|line| serde_json::from_str(line).ok()),
        })
    }

    /// The versions of Ray and Python, here and in the image.
    fn versions(&self, ray: &Path, scene: &Scene) -> Finding {
        let Self { ray_version, python_version, .. } = self;
        let what = format!("Ray {ray_version} for Python {python_version} (`{}`)", ray.display());
        if numbers(ray_version).is_some_and(|version| version < SINCE) {
            let cure = "update it by `pip install -U 'ray[default]>=2.9.3'`";
            return Finding::bad("ray", what, cure);
        }
        let tag = scene.file.as_ref().map(|file| image::text(&file.cluster.head().spec.image));
        match tag.and_then(in_tag) {
            Some((their_python, their_ray))
                if (their_python, their_ray) != (python_version, ray_version) =>
            {
                Finding::note(
                    "ray",
                    format!(
                        "{what}; the image has Ray {their_ray} for Python {their_python}, so that \
                         `ray.init(\"ray://…\")` from here does not work, and everything else does"
                    ),
                )
            }
            Some(_) | None => Finding::good("ray", what),
        }
    }

    /// Whether Ray finds our node provider.
    fn provider(&self) -> Finding {
        let python = self.python.display();
        if self.provider == OURS {
            return Finding::good("provider", format!("`ray_on_golem` {OURS} for this Ray"));
        }
        let what = match self.provider.as_str() {
            "-" => format!("Ray's Python, `{python}`, does not find `ray_on_golem`"),
            other => format!(
                "Ray's Python, `{python}`, finds `ray_on_golem` {other}, and this program is {OURS}"
            ),
        };
        let cure = format!("install both from one wheel: `{python} -m pip install -U WHEEL`");
        Finding::bad("provider", what, cure)
    }

    /// What Ray and the provider have against the cluster file.
    fn file(&self, file: &CheckedFile) -> Vec<Finding> {
        match &self.faults {
            Some(faults) if faults.is_empty() => {
                let what = format!("Ray {} takes `{}`", self.ray_version, file.name);
                vec![Finding::good(FILE, what)]
            }
            // Each says its own cure.
            Some(faults) => faults
                .iter()
                .map(|fault| Finding {
                    name: FILE,
                    verdict: Verdict::Bad,
                    what: fault.clone(),
                    cure: None,
                })
                .collect(),
            // Without the provider nothing can be said, and that it is missing was.
            None if self.provider != OURS => Vec::new(),
            None => {
                let what = format!("the node provider cannot look at `{}`", file.name);
                let cure =
                    format!("install it anew: `{} -m pip install -U WHEEL`", self.python.display());
                vec![Finding::bad("provider", what, cure)]
            }
        }
    }
}

/// The interpreter of the line that a script begins with.
fn interpreter(script: &Path) -> Option<PathBuf> {
    let bytes = fs::read(script).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    let line = lines.next()?.strip_prefix("#!")?.trim();
    if line == "/bin/sh" {
        // A path that is too long for the first line stands in the second one: `'''exec' /path/python "$0" "$@"`.
        let second = lines.next()?.strip_prefix("'''exec' ")?;
        return Some(second.split(' ').next()?.trim_matches('"').into());
    }
    Some(line.split(' ').next()?.into())
}

/// The versions of Python and Ray in a tag such as `golem/ray-on-golem:0.10.1-py3.10.13-ray2.9.3`.
fn in_tag(tag: &str) -> Option<(&str, &str)> {
    let (_, version) = tag.rsplit_once(':')?;
    let mut parts = version.split('-');
    let python = parts.clone().find_map(|part| part.strip_prefix("py"))?;
    let ray = parts.find_map(|part| part.strip_prefix("ray"))?;
    let minor = python.match_indices('.').nth(1).map_or(python, |(at, _)| &python[..at]);
    Some((minor, ray))
}

fn numbers(version: &str) -> Option<[u32; 2]> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??])
}

#[cfg(test)]
mod tests {
    use super::in_tag;

    #[test]
    fn a_tag_tells_python_and_ray() {
        assert_eq!(in_tag("golem/ray-on-golem:0.10.1-py3.10.13-ray2.9.3"), Some(("3.10", "2.9.3")));
        assert_eq!(in_tag("golem/ray-on-golem:0.10.1-py3.11-ray2.60.0"), Some(("3.11", "2.60.0")));
        assert_eq!(in_tag("golem/ray-on-golem:latest"), None);
        assert_eq!(in_tag("blueshade/ray"), None);
    }
}
