//! Lists through the entries themselves: joining, leaving and rotating cost the same however long they are.

/// No entry.
pub(super) const NIL: u32 = u32::MAX;

/// An entry's place in its list or ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Links {
    pub prev: u32,
    pub next: u32,
}

impl Default for Links {
    fn default() -> Self {
        Links { prev: NIL, next: NIL }
    }
}

/// Where the links of entry `at` are.
pub(super) trait Linked {
    fn links(&mut self, at: u32) -> &mut Links;
}

/// First in, first out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct List {
    pub head: u32,
    pub tail: u32,
}

impl Default for List {
    fn default() -> Self {
        List { head: NIL, tail: NIL }
    }
}

impl List {
    pub fn is_empty(&self) -> bool {
        self.head == NIL
    }

    pub fn push_back(&mut self, entries: &mut impl Linked, at: u32) {
        *entries.links(at) = Links { prev: self.tail, next: NIL };
        match self.tail {
            NIL => self.head = at,
            tail => entries.links(tail).next = at,
        }
        self.tail = at;
    }

    pub fn push_front(&mut self, entries: &mut impl Linked, at: u32) {
        *entries.links(at) = Links { prev: NIL, next: self.head };
        match self.head {
            NIL => self.tail = at,
            head => entries.links(head).prev = at,
        }
        self.head = at;
    }

    pub fn unlink(&mut self, entries: &mut impl Linked, at: u32) {
        let Links { prev, next } = std::mem::take(entries.links(at));
        match prev {
            NIL => self.head = next,
            prev => entries.links(prev).next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => entries.links(next).prev = prev,
        }
    }

    pub fn pop_front(&mut self, entries: &mut impl Linked) -> Option<u32> {
        let at = self.head;
        (at != NIL).then(|| {
            self.unlink(entries, at);
            at
        })
    }
}

/// Joins `at` to the ring whose next turn is `head`'s: its turn comes last.
pub(super) fn join(head: &mut u32, entries: &mut impl Linked, at: u32) {
    if *head == NIL {
        *head = at;
        *entries.links(at) = Links { prev: at, next: at };
        return;
    }
    let tail = entries.links(*head).prev;
    *entries.links(at) = Links { prev: tail, next: *head };
    entries.links(tail).next = at;
    entries.links(*head).prev = at;
}

/// Takes `at` out of its ring.
pub(super) fn leave(head: &mut u32, entries: &mut impl Linked, at: u32) {
    let Links { prev, next } = std::mem::take(entries.links(at));
    if next == at {
        *head = NIL;
        return;
    }
    entries.links(prev).next = next;
    entries.links(next).prev = prev;
    if *head == at {
        *head = next;
    }
}
