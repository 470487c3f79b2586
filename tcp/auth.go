package tcp

import (
	"net/netip"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/wire"
)

// Keys are those of a socket, by which the segments of its connections are signed (TCP-MD5, TCP-AO). Package tcp/auth has them; behind this
// interface they are so that programs which sign nothing do without its cryptography. Immutable once in use.
type Keys interface {
	// Check reports keys that cannot be used, by a syscall.Errno.
	Check() error
	// Guard is what the connection between two addresses needs; nil if no key is for it: it is not signed.
	Guard(local, remote netip.AddrPort) Guard
}

// KeyChange makes a socket's keys of those that it has: nil is none, before and after.
type KeyChange = func(Keys) (Keys, error)

// Guard is what one connection, or the record of one, has of authentication: it signs what is sent and judges what comes. It is called under
// the connection's lock.
type Guard interface {
	// Clone is a Guard of its own for the same connection, as of now.
	Clone() Guard
	// Keys are the keys in use, and SetKeys changes them. EBUSY: they lack a key of TCP-AO that is signed with, or that the peer is asked
	// for. EINVAL: they are not of the Guard's kind.
	Keys() Keys
	SetKeys(Keys) error
	// Space is how many bytes of each segment's options authentication takes, padding included.
	Space() int
	// AO reports whether TCP-AO protects the connection, and IgnoresICMP whether ICMP errors are to be ignored (RFC 5925 §7.8).
	AO() bool
	IgnoresICMP() bool
	// IDs are the SendID of the key of TCP-AO that is signed with, and the RecvID of that which the peer is asked for. ENOENT: it is not
	// TCP-AO.
	IDs() (current, next uint8, err error)
	// Use chooses the key to sign with, by SendID, and the one to ask the peer for, by RecvID; negative: no change. ENOENT: there is none.
	Use(sendID, recvID int) error
	// Prepare puts the option, its digest to be made by Sign, into the options of a segment that is to be sent.
	Prepare(*wire.TCPOptions)
	// Sign fills in the digest of a segment whose header was written with the option that Prepare made.
	Sign(SignedSegment)
	// Verify judges a segment from the peer, whose options are parsed from its header.
	Verify(SignedSegment, *wire.TCPOptions) Verdict
}

// SignedSegment is one segment of the wire, as a digest sees it.
type SignedSegment struct {
	Src, Dst netip.Addr
	Header   wire.TCP // with options; the checksum field does not count
	Payload  *buffer.Buffer
}

// Verdict is what Guard.Verify finds.
type Verdict uint8

// The values of Verdict.
const (
	SignatureGood       Verdict = iota
	SignatureMissing            // the segment is not signed, and has to be
	SignatureUnexpected         // it is signed in a way that was not agreed on, or twice
	SignatureUnknownKey         // TCP-AO: no key has that ID
	SignatureBad                // its digest is another one
)
