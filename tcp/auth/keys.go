package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"hash"
	"net/netip"
	"slices"
	"syscall"

	"github.com/weirnet/weir/tcp"
)

// Algorithm is the MAC of a TCP-AO key, with the key derivation that belongs to it (RFC 5926 §3).
type Algorithm uint8

const (
	HMACSHA1   Algorithm = iota // HMAC-SHA-1-96 and KDF_HMAC_SHA1 (RFC 5926 §3.1.1.1, §3.2.1)
	AESCMAC                     // AES-128-CMAC-96 and KDF_AES_128_CMAC (RFC 5926 §3.1.1.2, §3.2.2)
	HMACSHA256                  // HMAC-SHA-256-128 and the same derivation with that hash: not of RFC 5926, but routers have it
	algorithms
)

// macLen is how many bytes of the MAC go into the option.
func (a Algorithm) macLen() int {
	if a == HMACSHA256 {
		return 16
	}
	return 12
}

// trafficKeyLen is the length of the keys that are derived, in bytes.
func (a Algorithm) trafficKeyLen() int {
	switch a {
	case AESCMAC:
		return 16
	case HMACSHA256:
		return sha256.Size
	}
	return sha1.Size
}

// mac is the algorithm with a key: one that was derived, or the master key from which others are.
func (a Algorithm) mac(key []byte) hash.Hash {
	switch a {
	case AESCMAC:
		return newCMAC(key)
	case HMACSHA256:
		return hmac.New(sha256.New, key)
	}
	return hmac.New(sha1.New, key)
}

// derivation is the pseudorandom function of key derivation with a master key. AES-CMAC's takes keys of 16 bytes: of others it makes one
// first (RFC 5926 §3.1.1.2, as AES-CMAC-PRF-128 of RFC 4615).
func (a Algorithm) derivation(master []byte) hash.Hash {
	if a == AESCMAC && len(master) != 16 {
		h := newCMAC(make([]byte, 16))
		h.Write(master)
		master = h.Sum(nil)
	}
	return a.mac(master)
}

// MD5Key is a key of TCP-MD5.
type MD5Key struct {
	Peer netip.Prefix // whose connections it is for; the zero Prefix: everybody's
	Key  []byte       // up to 80 bytes, as on Linux
}

// maxMD5Key is the longest key of TCP-MD5, in bytes, and maxAOKey of TCP-AO, as on Linux.
const (
	maxMD5Key = 80
	maxAOKey  = 80
)

// AOKey is a master key tuple (MKT) of TCP-AO (RFC 5925 §3.1).
type AOKey struct {
	Peer netip.Prefix // whose connections it is for; the zero Prefix: everybody's
	Port uint16       // of the peer; 0: any
	// SendID is the KeyID in what we sign with it, RecvID that in what the peer does.
	SendID, RecvID uint8
	Algorithm      Algorithm
	Key            []byte // the master key, 1 to 80 bytes
	// ExcludeOptions leaves other TCP options out of the MAC, for middleboxes that change them (RFC 5925 §3.1).
	ExcludeOptions bool
}

// matches reports whether a key is for a peer.
func matches(p netip.Prefix, port uint16, peer netip.AddrPort) bool {
	if port != 0 && port != peer.Port() {
		return false
	}
	return p == netip.Prefix{} || p.Contains(peer.Addr().Unmap().WithZone(""))
}

// Keys are those of a socket, a tcp.Keys. Immutable once in use: With… and Without… make others.
type Keys struct {
	MD5 []MD5Key
	AO  []AOKey
	// AcceptICMP lets ICMP errors end or slow down connections that TCP-AO protects. They are not authenticated, and so are ignored if it
	// is not set (RFC 5925 §7.8).
	AcceptICMP bool
}

// Check reports keys that cannot be used: EINVAL for a length or algorithm that there is not, for two TCP-AO keys of one peer with the
// same KeyID ("The IDs of MKTs MUST NOT overlap where their TCP connection identifiers overlap", RFC 5925 §3.1), and for peers that would
// have keys of both kinds.
func (k *Keys) Check() error {
	if k == nil {
		return nil
	}
	for i := range k.MD5 {
		m := &k.MD5[i]
		if len(m.Key) == 0 || len(m.Key) > maxMD5Key {
			return syscall.EINVAL
		}
		for j := range k.AO {
			if overlap(m.Peer, k.AO[j].Peer) {
				return syscall.EINVAL
			}
		}
	}
	for i := range k.AO {
		a := &k.AO[i]
		if len(a.Key) == 0 || len(a.Key) > maxAOKey || a.Algorithm >= algorithms {
			return syscall.EINVAL
		}
		for j := range k.AO[:i] {
			if b := &k.AO[j]; overlap(a.Peer, b.Peer) && (a.Port == b.Port || a.Port == 0 || b.Port == 0) && (a.SendID == b.SendID || a.RecvID == b.RecvID) {
				return syscall.EINVAL
			}
		}
	}
	return nil
}

// overlap reports whether two prefixes have a peer in common.
func overlap(a, b netip.Prefix) bool {
	none := netip.Prefix{}
	return a == none || b == none || a.Overlaps(b)
}

// For are the keys for connections with a peer; nil if there are none: its connections are not signed. Of TCP-MD5 it is the one with the
// longest prefix.
func (k *Keys) For(peer netip.AddrPort) *Keys {
	if k == nil {
		return nil
	}
	of := &Keys{AcceptICMP: k.AcceptICMP}
	for _, m := range k.MD5 {
		if !matches(m.Peer, 0, peer) {
			continue
		}
		if len(of.MD5) == 0 || m.Peer.Bits() > of.MD5[0].Peer.Bits() {
			of.MD5 = []MD5Key{m}
		}
	}
	for _, a := range k.AO {
		if matches(a.Peer, a.Port, peer) {
			of.AO = append(of.AO, a)
		}
	}
	if of.MD5 == nil && of.AO == nil {
		return nil
	}
	return of
}

// Guard is what the connection between two addresses needs; nil if there is no key for it.
func (k *Keys) Guard(local, remote netip.AddrPort) tcp.Guard {
	if of := k.For(remote); of != nil {
		return NewGuard(of, local, remote)
	}
	return nil
}

// clone is a copy of k, which may be nil, to change.
func (k *Keys) clone() *Keys {
	if k == nil {
		return &Keys{}
	}
	return &Keys{MD5: slices.Clone(k.MD5), AO: slices.Clone(k.AO), AcceptICMP: k.AcceptICMP}
}

// WithMD5 is k with a key for TCP-MD5, in place of the one for just these peers if there was one; an empty key takes that away.
func (k *Keys) WithMD5(m MD5Key) (*Keys, error) {
	c := k.clone()
	c.MD5 = slices.DeleteFunc(c.MD5, func(o MD5Key) bool { return o.Peer == m.Peer })
	if len(m.Key) > 0 {
		m.Key = bytes.Clone(m.Key)
		c.MD5 = append(c.MD5, m)
	}
	return c, c.Check()
}

// WithAO is k with one more key for TCP-AO.
func (k *Keys) WithAO(a AOKey) (*Keys, error) {
	c := k.clone()
	a.Key = bytes.Clone(a.Key)
	c.AO = append(c.AO, a)
	return c, c.Check()
}

// WithoutAO is k without the key for TCP-AO of just these peers and IDs; ENOENT if there is none.
func (k *Keys) WithoutAO(peer netip.Prefix, sendID, recvID uint8) (*Keys, error) {
	c := k.clone()
	n := len(c.AO)
	c.AO = slices.DeleteFunc(c.AO, func(o AOKey) bool { return o.Peer == peer && o.SendID == sendID && o.RecvID == recvID })
	if len(c.AO) == n {
		return nil, syscall.ENOENT
	}
	return c, nil
}

// WithoutIDs is WithoutAO for the keys of one peer, among which the IDs are enough.
func (k *Keys) WithoutIDs(sendID, recvID uint8) (*Keys, error) {
	for _, a := range k.clone().AO {
		if a.SendID == sendID && a.RecvID == recvID {
			return k.WithoutAO(a.Peer, sendID, recvID)
		}
	}
	return nil, syscall.ENOENT
}

// change is a KeyChange by one of the functions above.
func change(fn func(*Keys) (*Keys, error)) tcp.KeyChange {
	return func(old tcp.Keys) (tcp.Keys, error) {
		k, ok := old.(*Keys)
		if old != nil && !ok {
			return nil, syscall.EINVAL
		}
		next, err := fn(k)
		if next == nil || err != nil {
			return nil, err
		}
		return next, nil
	}
}

// Replace has SetKeys put these keys in place of all that there are; nil: signing ends.
func Replace(keys *Keys) tcp.KeyChange {
	return change(func(*Keys) (*Keys, error) { return keys, keys.Check() })
}

// SetMD5 has SetKeys change a key of TCP-MD5: that of just these peers. An empty one takes it away.
func SetMD5(key MD5Key) tcp.KeyChange {
	return change(func(k *Keys) (*Keys, error) { return k.WithMD5(key) })
}

// AddAO has SetKeys add a key of TCP-AO. A connection must have begun with one; it uses the new one once UseAOKey says so, or the peer asks
// for it.
func AddAO(key AOKey) tcp.KeyChange {
	return change(func(k *Keys) (*Keys, error) { return k.WithAO(key) })
}

// DeleteAO has SetKeys take a key of TCP-AO away: that of just these peers and IDs. syscall.ENOENT: there is none.
func DeleteAO(peer netip.Prefix, sendID, recvID uint8) tcp.KeyChange {
	return change(func(k *Keys) (*Keys, error) { return k.WithoutAO(peer, sendID, recvID) })
}

// DeleteIDs is DeleteAO for a connection, among whose keys the IDs are enough.
func DeleteIDs(sendID, recvID uint8) tcp.KeyChange {
	return change(func(k *Keys) (*Keys, error) { return k.WithoutIDs(sendID, recvID) })
}
