package port_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/internal/port"
)

func TestAttachOnce(t *testing.T) {
	var p port.Port
	if p.Enter() != nil {
		t.Error("entered a port without a sink")
	}
	if err := p.Attach(link.Sink{}); err != nil {
		t.Fatal(err)
	}
	if err := p.Attach(link.Sink{}); !errors.Is(err, link.ErrAttached) {
		t.Errorf("second Attach: %v", err)
	}
	p.Close()
	p.Close()
	if err := p.Attach(link.Sink{}); !errors.Is(err, link.ErrClosed) {
		t.Errorf("Attach after Close: %v", err)
	}
	if p.Enter() != nil || !p.Closed() {
		t.Error("entered a closed port")
	}
}

func TestCloseWaitsAndNestedEntryDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p port.Port
		p.Attach(link.Sink{})
		for range 2 {
			if p.Enter() == nil {
				t.Fatal("cannot enter twice")
			}
		}
		var closed atomic.Int32
		for range 3 {
			go func() { p.Close(); closed.Add(1) }()
		}
		synctest.Wait()
		if p.Enter() != nil { // must neither succeed nor wait
			t.Error("entered while closing")
		}
		p.Exit()
		synctest.Wait()
		if closed.Load() != 0 {
			t.Error("Close returned with a call inside")
		}
		p.Exit()
		synctest.Wait()
		if closed.Load() != 3 {
			t.Errorf("%d of 3 Close returned", closed.Load())
		}
	})
}

func TestNobodyInsideAfterClose(t *testing.T) {
	for range 1000 {
		var p port.Port
		p.Attach(link.Sink{})
		var inside, late atomic.Int32
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for p.Enter() != nil {
					inside.Add(1)
					inside.Add(-1)
					p.Exit()
				}
			})
		}
		p.Close()
		late.Store(inside.Load())
		wg.Wait()
		if late.Load() != 0 {
			t.Fatalf("%d inside after Close", late.Load())
		}
	}
}

func TestMTU(t *testing.T) {
	for _, c := range []struct{ option, want int }{
		{0, 1500}, {-1, 576}, {1, 576}, {576, 576}, {1280, 1280}, {65535, 65535}, {65536, 65535},
	} {
		if got := port.MTU(c.option, 1500); got != c.want {
			t.Errorf("MTU(%d) = %d, want %d", c.option, got, c.want)
		}
	}
}
