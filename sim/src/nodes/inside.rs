//! The entry points of the processes that local nodes are made of. They are this same program, started again
//! with a hidden command.

use std::{ffi::OsString, io, os::unix::process::CommandExt as _, path::PathBuf, process::Command};

use clap::Subcommand;
use rustix::{
    fs::Mode,
    process::{ioctl_tiocsctty, setsid, umask},
};

use super::{holder, init};

/// What one of our processes is for. Nobody types these.
#[derive(Debug, Subcommand)]
pub enum Inside {
    /// Holds a private network
    #[command(name = "node-holder", hide = true)]
    Holder {
        /// Its nodes are plain processes
        #[arg(long)]
        processes: bool,
    },
    /// Is the first process of a node
    #[command(name = "node-init", hide = true)]
    Init,
    /// Asks the first process of a node
    #[command(name = "node-call", hide = true)]
    Call {
        /// Where that one listens
        #[arg(long)]
        at: Option<PathBuf>,
        /// What to start anew
        #[arg(value_parser = ["ssh"])]
        what: String,
    },
    /// Begins a session, and becomes its program
    #[command(name = "node-exec", hide = true)]
    Exec {
        /// Whether standard input is the terminal of the session
        #[arg(long)]
        terminal: bool,
        /// The name that the program is called by
        #[arg(allow_hyphen_values = true)]
        name: OsString,
        /// The program
        program: OsString,
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

impl Inside {
    /// Does what the process is for, until that is done.
    ///
    /// # Errors
    ///
    /// If the kernel refuses something, or the process that started this one is none of ours.
    pub fn run(self) -> io::Result<()> {
        // Other users of a node read its files, also where only one user reads the simulator's.
        umask(Mode::WGRP | Mode::WOTH);
        match self {
            Self::Holder { processes: false } => block_on(holder::hold()),
            Self::Holder { processes: true } => block_on(holder::hold_processes()),
            Self::Init => block_on(init::live()),
            Self::Call { at, .. } => block_on(init::call_ssh(at.as_deref())),
            Self::Exec { terminal, name, program, args } => {
                setsid()?;
                if terminal {
                    ioctl_tiocsctty(io::stdin())?;
                }
                // It returns only if there is no such program.
                Err(Command::new(program).arg0(name).args(args).exec())
            }
        }
    }
}

fn block_on(work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work)
}
