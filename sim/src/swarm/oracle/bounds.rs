//! Bounds: everything that a node keeps is within what it may.

use comm_proto::node::Bound;

use super::{Oracle, Rule, Seen};

impl Oracle {
    /// Looks at all of it after every input.
    pub(super) fn bounds(&mut self, seen: &Seen<'_>) {
        if let Some(node) = seen.host.node() {
            self.check("bounds");
            self.within(seen, node.bounds());
        }
    }

    pub(super) fn within(&mut self, seen: &Seen<'_>, bounds: impl Iterator<Item = Bound>) {
        for bound in bounds {
            if bound.held > bound.most {
                let text = format!("{} {}, at the most {}", bound.held, bound.what, bound.most);
                self.violated(seen, Rule::BoundExceeded, text);
            }
        }
    }
}
