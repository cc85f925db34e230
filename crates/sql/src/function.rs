//! What the functions of `pg_catalog` do. Two lists that people have read: those that only compute, and those that do
//! something. A function in neither is a call like any other. Beside them, which ones give rows.

use std::collections::HashSet;
use std::sync::LazyLock;

use model::facts::Action;

/// Functions that only compute or read the catalogue: one name a line, sorted; `#` begins a comment. A name stands here
/// when that holds for all of its forms.
static HARMLESS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| names(include_str!("function/harmless.txt")));

/// Functions of the server that give a set of rows.
static SETS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| names(include_str!("function/sets.txt")));

/// Names of the server's own operators.
static OPERATORS: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("function/operators.txt").lines().filter(|line| !line.starts_with("# ")).collect());

fn names(list: &'static str) -> HashSet<&'static str> {
    list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// Whether the server itself has an operator of this name.
pub(crate) fn is_server_operator(name: &str) -> bool {
    OPERATORS.contains(name)
}

/// What a function does besides being called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// Tells the value of a sequence.
    ReadsSequence,
    /// Changes a sequence.
    ChangesSequence,
    /// Sets a parameter.
    SetsParameter,
    /// Takes or gives back an advisory lock.
    Locks,
    /// Notifies a channel.
    Notifies,
    /// Does something to the server or to other sessions.
    Administers,
    /// Reads or writes files of the server.
    TouchesServerFile,
    /// Does this to a large object.
    TouchesLargeObject(Action),
    /// Replication: slots, origins, messages.
    Replicates,
    /// Runs a text that it is given, or that it makes: what that does is not known.
    RunsText,
}

/// Whether a function of `pg_catalog` does nothing but compute.
pub(crate) fn is_harmless(name: &str) -> bool {
    HARMLESS.contains(name)
}

/// Whether a function of `information_schema` does nothing but compute: its views are made of them, and drivers call them
/// for keys and types (PostgreSQL 13 to 18).
pub(crate) fn is_harmless_in_information_schema(name: &str) -> bool {
    matches!(
        name,
        "_pg_char_max_length"
            | "_pg_char_octet_length"
            | "_pg_datetime_precision"
            | "_pg_expandarray"
            | "_pg_index_position"
            | "_pg_interval_type"
            | "_pg_numeric_precision"
            | "_pg_numeric_precision_radix"
            | "_pg_numeric_scale"
            | "_pg_truetypid"
            | "_pg_truetypmod"
    )
}

/// Whether a function of this name gives a set of rows: their number tells about its arguments.
pub(crate) fn gives_rows(name: &str) -> bool {
    SETS.contains(name)
}

/// Whether a function of `pg_catalog` makes rows of the type that its first argument has.
pub(crate) fn fills_row(name: &str) -> bool {
    matches!(
        name,
        "json_populate_record"
            | "json_populate_recordset"
            | "jsonb_populate_record"
            | "jsonb_populate_record_valid"
            | "jsonb_populate_recordset"
    )
}

/// Whether a function of `pg_catalog` is known to give one value for a call, and not a set of rows.
pub(crate) fn gives_one_value(name: &str) -> bool {
    let of_sequence = matches!(name, "nextval" | "currval" | "lastval" | "setval");
    (of_sequence || is_harmless(name)) && !gives_rows(name)
}

/// What a function with effects does. Empty: not in the list.
pub(crate) fn effects(name: &str) -> &'static [Does] {
    use Does::*;
    match name {
        "currval" | "lastval" | "pg_sequence_last_value" | "pg_get_sequence_data" => &[ReadsSequence],
        "nextval" | "setval" => &[ChangesSequence],
        "set_config" => &[SetsParameter],
        "pg_notify" => &[Notifies],
        "lo_import" => &[TouchesServerFile, TouchesLargeObject(Action::Create)],
        "lo_export" => &[TouchesServerFile, TouchesLargeObject(Action::Select)],
        "lo_creat" | "lo_create" | "lo_from_bytea" => &[TouchesLargeObject(Action::Create)],
        "lo_unlink" => &[TouchesLargeObject(Action::Drop)],
        "lo_get" | "loread" | "lo_lseek" | "lo_lseek64" | "lo_tell" | "lo_tell64" => {
            &[TouchesLargeObject(Action::Select)]
        }
        "lo_open" => &[TouchesLargeObject(Action::Select), TouchesLargeObject(Action::Update)],
        "lo_put" | "lowrite" | "lo_truncate" | "lo_truncate64" => &[TouchesLargeObject(Action::Update)],
        "query_to_xml"
        | "query_to_xmlschema"
        | "query_to_xml_and_xmlschema"
        | "cursor_to_xml"
        | "cursor_to_xmlschema"
        | "table_to_xml"
        | "table_to_xmlschema"
        | "table_to_xml_and_xmlschema"
        | "schema_to_xml"
        | "schema_to_xmlschema"
        | "schema_to_xml_and_xmlschema"
        | "database_to_xml"
        | "database_to_xmlschema"
        | "database_to_xml_and_xmlschema"
        | "ts_stat"
        | "ts_rewrite"
        | "xpath_table"
        | "crosstab"
        | "crosstab2"
        | "crosstab3"
        | "crosstab4"
        | "connectby"
        | "query_to_json" => &[RunsText],
        "pg_cancel_backend"
        | "pg_terminate_backend"
        | "pg_reload_conf"
        | "pg_rotate_logfile"
        | "pg_rotate_logfile_old"
        | "pg_switch_wal"
        | "pg_promote"
        | "pg_create_restore_point"
        | "pg_backup_start"
        | "pg_backup_stop"
        | "pg_start_backup"
        | "pg_stop_backup"
        | "pg_wal_replay_pause"
        | "pg_wal_replay_resume"
        | "pg_log_standby_snapshot"
        | "pg_log_backend_memory_contexts"
        | "pg_import_system_collations"
        | "pg_nextoid"
        | "binary_upgrade_create_empty_extension"
        | "pg_extension_config_dump"
        | "pg_clear_relation_stats"
        | "pg_restore_relation_stats"
        | "pg_clear_attribute_stats"
        | "pg_restore_attribute_stats" => &[Administers],
        _ => family(name),
    }
}

/// Functions that are known by the beginning of their names.
fn family(name: &str) -> &'static [Does] {
    use Does::*;
    const FAMILIES: &[(&str, &[Does])] = &[
        ("pg_read_", &[TouchesServerFile]),
        ("pg_ls_", &[TouchesServerFile]),
        ("pg_stat_file", &[TouchesServerFile]),
        ("pg_file_", &[TouchesServerFile]),
        ("pg_current_logfile", &[TouchesServerFile]),
        ("pg_hba_file_rules", &[TouchesServerFile]),
        ("pg_ident_file_mappings", &[TouchesServerFile]),
        ("pg_show_all_file_settings", &[TouchesServerFile]),
        ("dblink", &[RunsText]),
        ("pg_advisory_", &[Locks]),
        ("pg_try_advisory_", &[Locks]),
        ("pg_logical_", &[Replicates]),
        ("pg_replication_", &[Replicates]),
        ("pg_create_logical_", &[Replicates]),
        ("pg_create_physical_", &[Replicates]),
        ("pg_copy_logical_", &[Replicates]),
        ("pg_copy_physical_", &[Replicates]),
        ("pg_drop_replication_", &[Replicates]),
        ("pg_sync_replication_", &[Replicates]),
        ("pg_stat_reset", &[Administers]),
        ("brin_", &[Administers]),
        ("gin_clean_pending_list", &[Administers]),
        ("binary_upgrade_", &[Administers]),
    ];
    FAMILIES.iter().find(|(beginning, _)| name.starts_with(beginning)).map_or(&[], |(_, does)| does)
}
