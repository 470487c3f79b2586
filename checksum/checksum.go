// Package checksum computes the Internet checksum (RFC 1071) and updates it (RFC 1624).
package checksum

import "net/netip"

// Sum adds b, as big-endian 16-bit words (an odd last byte padded with zero), to the folded one's complement sum initial and
// returns the folded sum, not complemented. What goes into a header is ^Sum(...).
func Sum(b []byte, initial uint16) uint16 { panic("stub") }

// Combine returns the sum of two byte strings set end to end, of which the first (with sum a) has length n, the second sum b:
// after an odd n the bytes of b change places.
func Combine(a uint16, n int, b uint16) uint16 { panic("stub") }

// Add adds two folded sums.
func Add(a, b uint16) uint16 { panic("stub") }

// Update16 returns header checksum ck after one of the 16-bit words that it covers changed from old to new (RFC 1624 eqn 3).
func Update16(ck, old, new uint16) uint16 { panic("stub") }

// UpdateAddr is Update16 for an address of 4 or 16 bytes.
func UpdateAddr(ck uint16, old, new netip.Addr) uint16 { panic("stub") }

// PseudoHeader returns the folded sum of the TCP/UDP/ICMPv6 pseudo-header: for IPv4 12 bytes (addresses, zero, protocol, length),
// for IPv6 RFC 8200 §8.1. Length counts transport header and payload.
func PseudoHeader(src, dst netip.Addr, protocol uint8, length int) uint16 { panic("stub") }
