//! Every name that metrics and logs use, in one list, with what it says.

macro_rules! names {
    ($(#[$doc:meta])* $kind:ident { $($variant:ident = $name:literal : $help:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $kind { $(#[doc = $help] $variant,)* }

        impl $kind {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [$kind] = &[$($kind::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = $kind::ALL.len();

            /// The name that leaves the process.
            pub const fn name(self) -> &'static str {
                match self { $($kind::$variant => $name,)* }
            }

            /// What it says, one sentence.
            pub const fn help(self) -> &'static str {
                match self { $($kind::$variant => $help,)* }
            }
        }
    };
}

names! {
    /// Things that only grow. The exported name gets the prefix `posthaste_` and the suffix `_total`.
    Counter {
        LinksAccepted = "listener_connections": "Connections accepted.",
        LinksRefused = "listener_connections_refused": "Connections refused by a limit, a block list or shutdown.",
        LinksHandedOver = "listener_connections_handed_over": "Connections passed to a less loaded shard.",
        LinksClosed = "session_connections_closed": "Sessions that ended.",
        ProxyHeadersBad = "listener_proxy_headers_bad": "PROXY headers that were refused.",
        TlsHandshakes = "tls_handshakes": "TLS handshakes completed, inbound.",
        TlsHandshakesFailed = "tls_handshakes_failed": "TLS handshakes failed, inbound.",
        Commands = "session_commands": "Commands read.",
        CommandsRefused = "session_commands_refused": "Commands answered 5yz.",
        CommandsDeferred = "session_commands_deferred": "Commands answered 4yz.",
        SessionPanics = "session_panics": "Sessions ended by a panic of ours.",
        AttemptPanics = "delivery_panics": "Delivery attempts ended by a panic of ours.",
        TaskPanics = "task_panics": "Panics caught, those of sessions and attempts included.",
        RecipientsAccepted = "session_recipients_accepted": "RCPT commands answered 250.",
        RecipientsRefused = "session_recipients_refused": "RCPT commands answered 4yz or 5yz.",
        MessagesAccepted = "session_messages_accepted": "Messages acknowledged with 250.",
        MessagesRefused = "session_messages_refused": "Messages answered 5yz at end of data.",
        MessagesDeferred = "session_messages_deferred": "Messages answered 4yz at end of data.",
        ContentBytes = "session_content_bytes": "Octets of content accepted.",
        SmugglingRefused = "session_bare_line_ends_refused": "Messages refused for a bare CR or LF.",
        RelayRefused = "policy_relay_refused": "Recipients refused because relaying is not allowed.",
        LimitsRefused = "limits_refused": "Requests refused by a limit.",
        SpoolBatches = "spool_batches": "Batches of the group commit.",
        SpoolSyncs = "spool_syncs": "Syncs of segments.",
        SpoolBytes = "spool_bytes_written": "Octets written to the spool.",
        SpoolRecords = "spool_records": "Records committed.",
        SpoolErrors = "spool_errors": "Writes or syncs that failed.",
        SpoolCompactions = "spool_segments_compacted": "Segments emptied by compaction.",
        SpoolRecycled = "spool_segments_recycled": "Segments recycled.",
        SpoolQuarantined = "spool_records_quarantined": "Records that failed their checksum.",
        SpoolReadsBack = "spool_messages_read_back": "Messages read from disk for delivery.",
        QueueEntered = "queue_recipients_entered": "Recipients entered into the queue.",
        Attempts = "delivery_attempts": "Delivery attempts.",
        AttemptConnections = "delivery_connections": "Outbound connections opened.",
        AttemptConnectionsFailed = "delivery_connections_failed": "Outbound connections that failed.",
        AttemptConnectionsReused = "delivery_connections_reused": "Attempts on a connection that was already open.",
        ContentsConverted = "delivery_contents_converted": "Messages converted to 7-bit for a host that takes no other.",
        ConversionsRefused = "delivery_conversions_refused": "Messages not converted to 7-bit: a signature would break, or they are malformed.",
        TlsOutbound = "delivery_tls_handshakes": "TLS handshakes completed, outbound.",
        TlsOutboundFailed = "delivery_tls_handshakes_failed": "TLS handshakes failed, outbound.",
        RecipientsDelivered = "delivery_recipients_delivered": "Recipients delivered.",
        RecipientsDeferred = "delivery_recipients_deferred": "Recipients deferred.",
        RecipientsFailed = "delivery_recipients_failed": "Recipients failed for good.",
        RecipientsExpired = "queue_recipients_expired": "Recipients whose schedule ended.",
        RecipientsRemoved = "queue_recipients_removed": "Recipients removed by an operator.",
        RecipientsExpanded = "queue_recipients_expanded": "Recipients replaced by other messages.",
        RecipientsDiscarded = "queue_recipients_discarded": "Recipients discarded by a rule.",
        ReportsSent = "report_notifications": "Delivery status notifications queued.",
        ReportsSuppressed = "report_notifications_suppressed": "Notifications not sent: null reverse-path, NOTIFY=NEVER, or a bounce of a bounce.",
        DnsQueries = "dns_queries": "Lookups that left the process.",
        DnsCacheHits = "dns_cache_hits": "Lookups answered by a cache.",
        DnsFailures = "dns_failures": "Lookups that failed temporarily.",
        MeshMessages = "shard_messages": "Messages that this shard sent to others: leases, connections handed over, loads, attempts lent.",
        LendingOffered = "lending_offered": "Attempts that this shard offered to others.",
        LendingTaken = "lending_taken": "Attempts of other shards that this one made.",
        LendingReturned = "lending_returned": "Attempts that other shards handed back unmade.",
        LogLines = "log_lines": "Log lines rendered.",
        LogLinesLost = "log_lines_lost": "Log lines dropped because the writer could not keep up.",
        ExpressionsFailed = "expression_failures": "Evaluations of expressions that failed; their fallback held.",
        EventsShipped = "events_shipped": "Events written for other programs.",
        EventsFailures = "events_failures": "Writes of events that failed; they are tried again.",
        EventsGaps = "events_segments_given_up": "Log segments given up before their events were written.",
        EventsGapBytes = "events_bytes_given_up": "Octets of the log given up before their events were written.",
        ShutdownCuts = "delivery_shutdown_cuts": "Attempts cut at shutdown after end of data: duplicates by choice.",
    }
}

names! {
    /// Things that go up and down. The exported name gets the prefix `posthaste_`.
    Gauge {
        LinksOpen = "session_connections_open": "Sessions open now.",
        SpoolBytesPending = "spool_bytes_pending": "Octets handed to the writer and not yet stable.",
        SpoolSegments = "spool_segments": "Log segments in use.",
        SpoolSegmentsReady = "spool_segments_ready": "Log segments ready for writing.",
        SpoolHealth = "spool_health": "0 ready, 1 full, 2 sick.",
        QueueMessages = "queue_messages": "Messages queued.",
        QueueRecipients = "queue_recipients": "Recipients queued.",
        QueueReady = "queue_recipients_ready": "Recipients ready for an attempt.",
        AttemptsOpen = "delivery_attempts_open": "Attempts under way.",
        LanesOpen = "queue_lanes": "Lanes in use.",
        MemoryReserved = "session_memory_reserved_bytes": "Octets of the shard's memory budget in use.",
        EventsLagBytes = "events_lag_bytes": "Octets of the log whose events are not written yet.",
        EventsLagSeconds = "events_lag_seconds": "Age of the oldest event that waits to be written; of all shards the highest.",
        RecoveryPending = "spool_recovery_segments_pending": "Shards whose recovery is not complete.",
    }
}

names! {
    /// Latencies. Exported in seconds with the prefix `posthaste_` and the suffix `_seconds`.
    Timing {
        Commit = "spool_commit": "From handing a record to the spool to stable storage.",
        Sync = "spool_sync": "One sync of a segment.",
        Accept = "session_accept": "From end of data to the 250.",
        Attempt = "delivery_attempt": "One delivery attempt, connection included when it was new.",
        Connect = "delivery_connect": "Opening an outbound connection up to the greeting.",
        QueueAge = "queue_age": "From acceptance to final status.",
    }
}

names! {
    /// Events of the log stream.
    Event {
        ServerStart = "server.start": "The server started.",
        ServerStop = "server.stop": "The server stopped.",
        ServerReload = "server.reload": "A new configuration is in force, or was refused.",
        ServerWarning = "server.warning": "Something an operator should know.",
        LinkOpen = "link.open": "A connection was accepted.",
        LinkRefused = "link.refused": "A connection was refused.",
        LinkTls = "link.tls": "A TLS handshake was completed or failed.",
        LinkClosed = "link.closed": "A session ended.",
        TxAccepted = "tx.accepted": "A message was acknowledged.",
        TxRefused = "tx.refused": "A recipient or a message was refused.",
        AttemptConverted = "attempt.converted": "A message was converted to 7-bit for a host, or could not be.",
        AttemptDelivered = "attempt.delivered": "A recipient was delivered.",
        AttemptDeferred = "attempt.deferred": "A recipient was deferred.",
        AttemptFailed = "attempt.failed": "A recipient failed for good.",
        QueueExpired = "queue.expired": "A recipient's schedule ended.",
        QueueRemoved = "queue.removed": "An operator removed a recipient.",
        QueueDiscarded = "queue.discarded": "A rule discarded a recipient.",
        QueueExpanded = "queue.expanded": "A recipient was replaced by other messages.",
        QueueHeld = "queue.held": "An operator held a message.",
        QueueReleased = "queue.released": "A message is held no longer.",
        ReportQueued = "report.queued": "A delivery status notification was queued.",
        ReportSuppressed = "report.suppressed": "A recipient failed, and nobody is told.",
        SpoolHealth = "spool.health": "The spool became ready, full or sick.",
        SpoolRecovery = "spool.recovery": "Recovery made progress.",
        SpoolQuarantine = "spool.quarantine": "A record failed its checksum.",
        SpoolUnreadable = "spool.unreadable": "A message could not be read back; it is tried again.",
        EventsFile = "events.file": "Events cannot be written, or can be again.",
        EventsGap = "events.gap": "Events were given up; how many at most is said.",
        Panic = "panic": "A task of ours panicked; its place is named.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_well_formed() {
        let mut seen = HashSet::new();
        let metrics = Counter::ALL
            .iter()
            .map(|c| c.name())
            .chain(Gauge::ALL.iter().map(|g| g.name()))
            .chain(Timing::ALL.iter().map(|t| t.name()));
        for name in metrics {
            assert!(seen.insert(name), "{name} stands twice");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        }
        for event in Event::ALL {
            assert!(seen.insert(event.name()), "{} stands twice", event.name());
            assert!(event.help().ends_with('.'));
        }
    }
}
