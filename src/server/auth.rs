//! Who may ask: whoever knows the token in the data directory; a head knows one of its cluster only.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt, fs,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::fs::{Mode, OFlags};
use rustls::crypto::ring;
use thiserror::Error;

use crate::core::{cluster::plan::ClusterName, ids::ClusterId};

/// The file of the token, in the data directory.
pub const TOKEN_FILE: &str = "webserver.token";
/// The file of the token with which numbers can be read and nothing else, in the data directory.
pub const METRICS_TOKEN_FILE: &str = "metrics.token";
/// The directory of the heads' tokens, in the data directory.
const HEADS: &str = "heads";
const TOKEN_BYTES: usize = 32;

/// A secret word. Debug output never shows it.
#[derive(Clone, Eq)]
pub struct Token(String);

/// Who may ask the webserver.
#[derive(Clone, Debug)]
pub enum Guard {
    /// Whoever has the token.
    Token(Token),
    /// Every client that reaches the port: those of the original know of no token. To others the token proves who we are.
    Anyone(Token),
}

/// What a caller may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Everything.
    User,
    /// To see that somebody listens.
    Nobody,
    /// To read the numbers for Prometheus.
    Scraper,
    /// What a head needs to scale its own cluster.
    Head {
        /// Which cluster.
        cluster: ClusterId,
        /// Its name.
        name: ClusterName,
    },
}

/// Why there is no token.
#[derive(Debug, Error)]
#[error("cannot {doing} the token `{}`", path.display())]
pub struct TokenError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The tokens of the heads, by cluster; its clones are the same.
#[derive(Clone, Debug)]
pub struct HeadTokens {
    data: PathBuf,
    tokens: Arc<Mutex<BTreeMap<ClusterId, (ClusterName, Token)>>>,
}

impl Token {
    /// The token of the data directory; it is made if there is none.
    ///
    /// # Errors
    ///
    /// If its file cannot be read or written.
    pub fn of(data: &Path) -> Result<Self, TokenError> {
        Self::of_file(&data.join(TOKEN_FILE))
    }

    /// The token in `path`; it is made, and readable by its user alone, if there is none.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written.
    pub fn of_file(path: &Path) -> Result<Self, TokenError> {
        let failed = |doing| move |source| TokenError { doing, path: path.to_owned(), source };
        match fs::read_to_string(path) {
            Ok(text) => {
                Self::read(&text).map_or_else(|| Self::make(path).map_err(failed("write")), Ok)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self::make(path).map_err(failed("write"))
            }
            Err(source) => Err(failed("read")(source)),
        }
    }

    /// The token of the data directory that opens the numbers for Prometheus; it is made if there is none. Where that
    /// cannot be written, as on a full disk, no scraper can know it: clusters go on without one.
    ///
    /// # Errors
    ///
    /// If its file cannot be read or written, and the system has no randomness to give.
    pub fn of_metrics(data: &Path) -> Result<Self, TokenError> {
        let kept = Self::of_file(&data.join(METRICS_TOKEN_FILE));
        kept.or_else(|error| Self::random().map_err(|_| error))
    }

    /// Whether it is shown by a request with this `Authorization`.
    #[must_use]
    pub fn is_shown(&self, authorization: Option<&str>) -> bool {
        bearer(authorization).is_some_and(|word| self.is(word))
    }

    /// The token of a data directory that another process has named, if only this user can have put it there: the
    /// directory and the file are this user's, and no other user can write to them, or read the file.
    #[must_use]
    pub fn of_this_user(data: &Path) -> Option<Self> {
        let directory = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(data, directory, Mode::empty()).ok()?;
        // What was judged is what is read, whatever its path leads to by then.
        let file = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, TOKEN_FILE, file, Mode::empty()).ok()?;
        let (directory, mut file) = (fs::File::from(directory), fs::File::from(file));
        let is_ours = |file: &fs::File, forbidden: u32| {
            let user = rustix::process::geteuid().as_raw();
            file.metadata().is_ok_and(|it| it.uid() == user && it.mode() & forbidden == 0)
        };
        let is_file = file.metadata().is_ok_and(|file| file.is_file());
        if !is_file || !is_ours(&directory, 0o022) || !is_ours(&file, 0o077) {
            return None;
        }
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        Self::read(&text)
    }

    /// The token in the text of its file.
    fn read(text: &str) -> Option<Self> {
        let word = text.trim();
        (!word.is_empty()).then(|| Self(word.to_owned()))
    }

    /// The token in a file that the user has named; none if there is none to be read.
    #[must_use]
    pub fn in_file(path: &Path) -> Option<Self> {
        Self::read(&fs::read_to_string(path).ok()?)
    }

    /// The word itself; it must not be logged.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `word` is the token; takes as long for any word of its length.
    #[must_use]
    pub fn is(&self, word: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), word.as_bytes());
        let differing = ours.iter().zip(theirs).fold(0, |sum, (a, b)| sum | (a ^ b));
        ours.len() == theirs.len() && differing == 0
    }

    /// A new one.
    ///
    /// # Errors
    ///
    /// If the system has no randomness to give.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; TOKEN_BYTES];
        ring::default_provider()
            .secure_random
            .fill(&mut bytes)
            .map_err(|_| io::Error::other("the system gives no randomness"))?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    fn make(path: &Path) -> io::Result<Self> {
        let token = Self::random()?;
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let new = path.with_extension("new");
        let mut file =
            fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(format!("{}\n", token.0).as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        Ok(token)
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Guard {
    /// Whether a request with this `Authorization` may pass.
    #[must_use]
    pub fn admits(&self, authorization: Option<&str>) -> bool {
        match self {
            Self::Anyone(_) => true,
            Self::Token(token) => token.is_shown(authorization),
        }
    }

    /// The token of the data directory.
    #[must_use]
    pub const fn token(&self) -> &Token {
        match self {
            Self::Token(token) | Self::Anyone(token) => token,
        }
    }
}

impl HeadTokens {
    /// The tokens of the heads below `data`; each is made when it is first asked for.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self { data: data.to_owned(), tokens: Arc::default() }
    }

    /// The token of the head of a cluster.
    ///
    /// # Errors
    ///
    /// If its file cannot be read or written.
    pub fn of(&self, cluster: ClusterId, name: &ClusterName) -> Result<Token, TokenError> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, token)) = tokens.get(&cluster) {
            return Ok(token.clone());
        }
        let token = Token::of_file(&self.path(cluster))?;
        tokens.insert(cluster, (name.clone(), token.clone()));
        Ok(token)
    }

    /// Forgets the token of a cluster that is over.
    pub fn forget(&self, cluster: ClusterId) {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).remove(&cluster);
        // What stays here is the token of a cluster that nobody has any more.
        let _ = fs::remove_file(self.path(cluster));
    }

    /// Removes the tokens of clusters that ended while no webserver ran; those that were asked for stay.
    pub fn clear(&self, is_open: impl Fn(ClusterId) -> bool) {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = fs::read_dir(self.data.join(HEADS)).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let number = name.strip_prefix("cluster-").and_then(|it| it.strip_suffix(".token"));
            let cluster = number.and_then(|number| number.parse().ok()).map(ClusterId);
            if cluster.is_some_and(|id| !is_open(id) && !tokens.contains_key(&id)) {
                // One that stays opens nothing.
                let _ = fs::remove_file(&path);
            }
        }
    }

    /// The head that has this `Authorization`.
    #[must_use]
    pub fn caller(&self, authorization: Option<&str>) -> Option<Caller> {
        let word = bearer(authorization)?;
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let found = tokens.iter().find(|(_, (_, token))| token.is(word));
        found.map(|(cluster, (name, _))| Caller::Head { cluster: *cluster, name: name.clone() })
    }

    /// The token that a head means, and the cluster that it is of.
    #[must_use]
    pub fn marked(&self, mark: &str) -> Option<(ClusterId, Token)> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let found = tokens.iter().find(|(_, (_, token))| token.mark() == mark);
        found.map(|(cluster, (_, token))| (*cluster, token.clone()))
    }

    fn path(&self, cluster: ClusterId) -> PathBuf {
        self.data.join(HEADS).join(format!("cluster-{}.token", cluster.0))
    }
}

fn bearer(authorization: Option<&str>) -> Option<&str> {
    let (scheme, word) = authorization?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| word.trim())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
        path::Path,
    };

    use super::{Caller, Guard, HeadTokens, METRICS_TOKEN_FILE, TOKEN_FILE, Token};
    use crate::core::ids::ClusterId;

    #[test]
    fn a_token_is_made_once_and_read_by_its_user_alone() {
        let data = tempfile::tempdir().expect("a directory");
        let token = Token::of(data.path()).expect("a writable directory");

        assert_eq!(Token::of(data.path()).expect("the same"), token);
        assert_eq!(token.as_str().len(), 64);
        assert_eq!(format!("{token:?}"), "Token(…)");
        let file = fs::metadata(data.path().join(TOKEN_FILE)).expect("the file");
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_token_is_taken_from_where_another_process_says_only_if_this_user_put_it_there() {
        let data = tempfile::tempdir().expect("a directory");
        let token = Token::of(data.path()).expect("a writable directory");
        let found = || Token::of_this_user(data.path());
        let mode = |path: &Path, mode: u32| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
        };
        let file = data.path().join(TOKEN_FILE);
        assert_eq!(found(), Some(token.clone()));
        // A directory that the user has made may be as open as this.
        mode(data.path(), 0o755);
        assert_eq!(found(), Some(token));

        mode(&file, 0o640);
        assert_eq!(found(), None, "others can read it");
        mode(&file, 0o600);
        mode(data.path(), 0o777);
        assert_eq!(found(), None, "others can put another one there");
        mode(data.path(), 0o700);
        let elsewhere = data.path().join("elsewhere");
        fs::rename(&file, &elsewhere).expect("a writable directory");
        symlink(&elsewhere, &file).expect("a writable directory");
        assert_eq!(found(), None, "a link leads to any file of ours");
        assert_eq!(Token::of_this_user(&elsewhere), None);
    }

    #[test]
    fn without_room_for_its_token_nobody_scrapes() {
        let data = tempfile::tempdir().expect("a directory");
        let first = Token::of_metrics(data.path()).expect("a writable directory");
        assert_eq!(Token::of_metrics(data.path()).expect("the same"), first);
        let file = data.path().join(METRICS_TOKEN_FILE);
        fs::remove_file(&file).expect("it is there");
        fs::create_dir(&file).expect("a writable directory");

        assert_ne!(Token::of_metrics(data.path()).expect("randomness"), first);
    }

    #[test]
    fn only_the_whole_token_opens() {
        let data = tempfile::tempdir().expect("a directory");
        let token = Token::of(data.path()).expect("a writable directory");
        let word = token.as_str().to_owned();
        let guard = Guard::Token(token);

        assert!(guard.admits(Some(&format!("Bearer {word}"))));
        for wrong in ["", "Bearer", "Bearer ", &word, &format!("Bearer {}", &word[1..])] {
            assert!(!guard.admits(Some(wrong)), "{wrong}");
        }
        assert!(!guard.admits(None));
        assert!(Guard::Anyone(Token::random().expect("randomness")).admits(None));
    }

    #[test]
    fn a_head_is_known_by_its_token_until_its_cluster_is_over() {
        let data = tempfile::tempdir().expect("a directory");
        let heads = HeadTokens::new(data.path());
        let (one, two) = (ClusterId(1), ClusterId(2));
        let token = heads.of(one, &"a".into()).expect("a writable directory");
        let other = heads.of(two, &"b".into()).expect("a writable directory");
        let said = format!("Bearer {}", token.as_str());

        assert_ne!(token, other);
        assert_eq!(heads.of(one, &"a".into()).expect("the same"), token);
        let caller = heads.caller(Some(&said));
        assert_eq!(caller, Some(Caller::Head { cluster: one, name: "a".into() }));
        heads.forget(one);
        assert_eq!(heads.caller(Some(&said)), None);
        assert_ne!(heads.of(one, &"a".into()).expect("a new one"), token);
    }

    #[test]
    fn tokens_of_clusters_that_are_over_are_cleared_at_a_start() {
        let data = tempfile::tempdir().expect("a directory");
        let earlier = HeadTokens::new(data.path());
        for id in 1..=3 {
            earlier.of(ClusterId(id), &"a".into()).expect("a writable directory");
        }
        let heads = HeadTokens::new(data.path());
        heads.of(ClusterId(2), &"a".into()).expect("the same");

        heads.clear(|id| id == ClusterId(1));

        let left = [1, 2, 3].map(|id| heads.path(ClusterId(id)).exists());
        assert_eq!(left, [true, true, false]);
    }
}
