package buffer

import (
	"testing"

	"pgregory.net/rapid"
)

func TestRopeAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			w.step(rapid.Byte().Draw(t, "op"), rapid.Uint16().Draw(t, "x"), rapid.Uint16().Draw(t, "y"))
		}
		w.close()
	})
}
