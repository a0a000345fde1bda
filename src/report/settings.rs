//! Settings of delivery status notifications: `report.dsn.*`.

use crate::schema::{FaultKind, Section, Size};

/// What notifications look like. Addresses are texts here: they are checked where they are configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `report.dsn.from-name`: the display name in From.
    pub from_name: String,
    /// `report.dsn.from-address`: the address in From; empty means `MAILER-DAEMON@` and our host name.
    pub from_address: String,
    /// `report.dsn.max-returned`: octets of the returned message or header section; more is cut or, for
    /// a whole message, replaced by its header section. At most 1 MiB.
    pub returned_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            from_name: "Mail Delivery Subsystem".to_owned(),
            from_address: String::new(),
            returned_bytes_max: 50 * 1024,
        }
    }
}

impl Settings {
    /// Reads `[report]`.
    pub fn read(report: &Section<'_>) -> Settings {
        for name in ["domain", "submitter", "dkim", "spf", "dmarc", "tls", "analysis", "arf"] {
            report.not_yet(name, "of reports, only delivery status notifications are sent");
        }
        report.table("dsn", "Delivery status notifications (RFC 3464).", |s| {
            let default = Settings::default();
            s.not_yet("sign", "nothing is signed");
            let settings = Settings {
                from_name: s.key("from-name").doc("The display name in From.").default(default.from_name),
                from_address: s
                    .key("from-address")
                    .doc("The address in From. Where it is empty: MAILER-DAEMON at server.hostname.")
                    .default(default.from_address),
                returned_bytes_max: s
                    .key("max-returned")
                    .doc("Size of the returned message; a larger one is replaced by its header section, which is cut there.")
                    .between(Size(1024), Size(1 << 20))
                    .default(Size(default.returned_bytes_max as u64))
                    .bytes(),
            };
            if !settings.from_address.is_empty()
                && let Err(error) = crate::mail::Mailbox::parse(&settings.from_address, true)
            {
                let fault = s.fault_at("from-address", FaultKind::Value, "wrong value for `report.dsn.from-address`");
                s.report(fault.found(format!("\"{}\": {error}", settings.from_address)).expected("a mail address"));
            }
            settings
        })
    }
}
