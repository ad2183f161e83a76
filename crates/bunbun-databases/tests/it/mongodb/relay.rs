//! Where connections may lead: the guard of hosts, and members that servers announce.
