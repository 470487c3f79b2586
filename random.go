package weir

import (
	"encoding/binary"
	"sync"

	"github.com/weirnet/weir/internal/during"
)

// randomness is Config.Rand's default: the system's random numbers, drawn in advance for a few dozen calls. What was given out is not
// kept.
type randomness struct {
	mu   sync.Mutex
	pool [256]byte // as much as Linux gives at once, whole and without being interrupted (getrandom(2))
	left int       // bytes at the end of pool that were not given out
	draw func([]byte) error
}

// newRandomness fails if the system, which draw asks, has no random numbers.
func newRandomness(draw func([]byte) error) (*randomness, error) {
	r := &randomness{draw: draw}
	return r, r.fill()
}

func (r *randomness) fill() error {
	if err := r.draw(r.pool[:]); err != nil {
		return during.Error("no random numbers", err)
	}
	r.left = len(r.pool)
	return nil
}

// uint64 panics if the system, which had random numbers when the stack was made, has none any more: nothing that could be guessed may take
// their place.
func (r *randomness) uint64() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left == 0 {
		if err := r.fill(); err != nil {
			panic("weir: " + err.Error())
		}
	}
	b := r.pool[len(r.pool)-r.left:][:8]
	r.left -= len(b)
	n := binary.LittleEndian.Uint64(b)
	clear(b)
	return n
}
