package tcp_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/weirnet/weir/tcp/tcptest"
)

func TestScratchTrace(t *testing.T) {
	seed, _ := strconv.Atoi(os.Getenv("SEED"))
	loss, _ := strconv.ParseFloat(os.Getenv("LOSS"), 64)
	if seed == 0 {
		t.Skip()
	}
	o := world(uint64(seed), loss)
	fmt.Printf("%+v\n", o)
	for _, c := range o.Config {
		fmt.Println(c.Congestion, c.SendBuffer, c.ReceiveBuffer, c.NoSACK, c.NoTimestamps, c.NoWindowScale)
	}
	o.Trace = true
	n := tcptest.New(o)
	err := n.Run()
	fmt.Println(err)
	for i, l := range n.Trace {
		if i < 60 || i > len(n.Trace)-60 {
			fmt.Println(l)
		}
	}
}
