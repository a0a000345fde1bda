//! What looks like an end of data and is none: for the tests of the scanner and of the server machine.

/// Every spelling that some server once took for the end of data (HARDENING 3.1), and some of our own.
pub(in crate::smtp) const LOOKALIKES: [&[u8]; 24] = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\n.\r",
    b"\r.\r",
    b"\r.\n",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n. \r\n",
    b"\r\n.\t\r\n",
    b"\x0b\n.\r\n",
    b"\xc2\x85.\xc2\x85",
    b"\xe2\x80\xa8.\xe2\x80\xa8",
    b"\n\n.\n\n",
    b"\r\n..\r\n",
    b"\r\n.\n\r\n",
    b"\r\n\r.\r\n",
    b"\r\n.\x0b\r\n",
    b"\r\n.\r\0\n",
    b"\x1a",
];
