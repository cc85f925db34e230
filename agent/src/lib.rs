//! The agent as a library: configuration, control socket, views of what was recorded, and the processes of the
//! daemon. The binary is a line.

mod catalogue_form;
mod catalogue_role;
pub mod cli;
mod clock;
pub mod config;
pub mod control;
pub mod core_process;
pub mod coverage;
pub mod doctor;
pub mod evidence;
mod exec_socket;
mod grant_link;
mod hold_link;
mod identity_link;
mod kernel_process;
mod key_file;
mod link;
mod mcp;
mod minting_roles;
pub mod policies;
mod policy_files;
mod privileges;
pub mod replay;
pub mod run;
pub mod search_view;
pub mod sessions_view;
mod setup_plan;
pub mod terminal;
pub mod timeline;
mod token_file;
mod tree_group;
mod unload;
pub mod words;
mod worker_link;
mod worker_process;
