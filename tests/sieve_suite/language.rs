//! The commands and tests of the test language.

use posthaste::sieve::{Compiler, Kind, Signature};

/// A compiler that knows the test language.
pub fn compiler() -> Compiler {
    let command = Signature::host_command;
    let test = Signature::host_test;
    let both = |name, build: fn(Signature) -> Signature| [build(command(name)), build(test(name))];
    let mut signatures = vec![
        command("test").with("name", Kind::Text).with_block(),
        command("test_fail").with("reason", Kind::Text),
        command("test_set").with("name", Kind::Text).with("value", Kind::Text),
        command("test_config_set").with("key", Kind::Text).with("value", Kind::Text),
        command("test_config_unset").with("key", Kind::Text),
        command("test_config_reload").with_tag("extension", Some(Kind::Text)),
        command("test_mailbox_create").with("mailbox", Kind::Text),
        command("test_binary_save").with("name", Kind::Text),
        command("test_binary_load").with("name", Kind::Text),
        command("test_result_print"),
        command("test_result_reset"),
        test("test_error").with("keys", Kind::List).with_matching().with_tag("index", Some(Kind::Number)),
        test("test_result_action").with("keys", Kind::List).with_matching().with_tag("index", Some(Kind::Number)),
    ];
    signatures.extend(both("test_script_compile", |s| s.with("script", Kind::Text)));
    signatures.extend(both("test_script_run", |s| s.with_tag("append_result", None)));
    signatures.extend(both("test_multiscript", |s| s.with("scripts", Kind::List)));
    signatures.extend(both("test_result_execute", |s| s));
    signatures.extend(both("test_message", |s| {
        s.with_tag("smtp", None).with_tag("folder", Some(Kind::Text)).with("index", Kind::Number)
    }));
    signatures.into_iter().fold(Compiler::new().with_namespace("tst"), Compiler::with_host)
}

/// Lines for a variant of the suite that we are not, and its extension, which is none of ours.
pub fn prepared(source: &str) -> String {
    source.replace("require \"vnd.dovecot.testsuite\";", "").replace("\"vnd.dovecot.testsuite\",", "")
}
