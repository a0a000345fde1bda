//! Settings of delivery status notifications: `report.dsn.*`.

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
