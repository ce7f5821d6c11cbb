//! Ray and Python here, against those of the image. They may differ: only `ray.init("ray://…")` needs the same.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Finding, Scene, image, programs};

/// What has no more to say than the versions; the interpreter looks at no site of the user's that takes its time.
const ASK: &str = "import sys\nfrom importlib.metadata import version\n\
                   print(version('ray'), '.'.join(map(str, sys.version_info[:2])))";
/// The oldest Ray that the node provider works with.
const SINCE: [u32; 2] = [2, 9];

pub(super) async fn check(scene: &Scene) -> Vec<Finding> {
    let Some(ray) = programs::on_path(scene, "ray") else {
        let cure = "install it by `pip install 'ray[default]>=2.9.3'`, or activate the environment that it is in";
        return vec![Finding::bad("ray", "there is no `ray` on the path", cure)];
    };
    let Some(python) = interpreter(&ray) else {
        let what = format!("`{}` does not say which Python it is for", ray.display());
        return vec![Finding::note("ray", what)];
    };
    let said = programs::said(&python, &["-I", "-c", ASK]).await;
    let versions = said.as_deref().ok().and_then(|said| said.split_once(' '));
    let Some((ray_version, python_version)) = versions else {
        let why = said.as_ref().err().cloned().unwrap_or_default();
        let what = format!("`{}` has no Ray that can be read: {why}", python.display());
        return vec![Finding::note("ray", what)];
    };
    let what = format!("Ray {ray_version} for Python {python_version} (`{}`)", ray.display());
    if numbers(ray_version).is_some_and(|version| version < SINCE) {
        let cure = "update it by `pip install -U 'ray[default]>=2.9.3'`";
        return vec![Finding::bad("ray", what, cure)];
    }
    let tag = scene.file.as_ref().map(|file| image::text(&file.head().spec.image));
    let of_image = tag.and_then(in_tag);
    match of_image {
        Some((their_python, their_ray))
            if (their_python, their_ray) != (python_version, ray_version) =>
        {
            let what = format!(
                "{what}; the image has Ray {their_ray} for Python {their_python}, so that `ray.init(\"ray://…\")` \
                 from here does not work, and everything else does"
            );
            vec![Finding::note("ray", what)]
        }
        Some(_) | None => vec![Finding::good("ray", what)],
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
