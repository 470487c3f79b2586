package stack

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"github.com/weirnet/weir/internal/siphash"
)

// localPorts knows which local addresses and ports connections have, those in TIME-WAIT included: so that whether one is free can be told
// without a walk over the flow table. Ports that are used are neighbours as a rule: they are bits of a block of 64.
type localPorts struct {
	key    siphash.Key
	shards [16]localPortShard
}

// localPortShard has address and block, or port, as a keyed hash of 64 bits: that two are alike does not happen.
type localPortShard struct {
	mu     sync.Mutex
	blocks map[uint64]uint64 // a bit for each port that is used; none is 0
	more   map[uint64]uint32 // connections beyond the first of a port that several have
	_      [40]byte          // a cache line to itself
}

// add counts a connection more (n is 1) or less (-1) with the local end of a flow.
func (t *localPorts) add(k *flowKey, n int) {
	s, block, port, bit := t.place(k.local, k.localPort)
	defer s.mu.Unlock()
	switch more, used := s.more[port], s.blocks[block]&bit != 0; {
	case n > 0 && !used:
		put(&s.blocks, block, s.blocks[block]|bit)
	case n > 0:
		put(&s.more, port, more+1)
	case more > 0:
		put(&s.more, port, more-1)
	default:
		put(&s.blocks, block, s.blocks[block]&^bit)
	}
}

// used reports whether a connection has the address and port.
func (t *localPorts) used(a netip.AddrPort) bool {
	s, block, _, bit := t.place(a.Addr().As16(), a.Port())
	defer s.mu.Unlock()
	return s.blocks[block]&bit != 0
}

// place is where a local end is kept: the shard, which is locked, the block and the bit in it, and the port.
func (t *localPorts) place(addr [16]byte, port uint16) (s *localPortShard, block, number, bit uint64) {
	var b [20]byte
	copy(b[:], addr[:])
	binary.LittleEndian.PutUint16(b[16:], port/64)
	block = t.key.Sum(b[:])
	binary.LittleEndian.PutUint16(b[18:], 1+port%64)
	number = t.key.Sum(b[:])
	s = &t.shards[block%uint64(len(t.shards))]
	s.mu.Lock()
	return s, block, number, 1 << (port % 64)
}

// put sets an entry of a map that has none that are 0, and no memory when it is empty.
func put[V uint32 | uint64](m *map[uint64]V, key uint64, v V) {
	switch {
	case v != 0 && *m == nil:
		*m = map[uint64]V{key: v}
	case v != 0:
		(*m)[key] = v
	default:
		if delete(*m, key); len(*m) == 0 {
			*m = nil
		}
	}
}
