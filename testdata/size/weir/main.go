package main

import (
	"io"
	"os"

	"github.com/weirnet/weir"
)

func main() {
	s, err := weir.New(weir.Config{})
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	l, err := s.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.Copy(c, c)
		c.Close()
	}()
	c, err := s.Dial("tcp", l.Addr().String())
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	c.Write([]byte("hello"))
	b := make([]byte, 5)
	io.ReadFull(c, b)
	os.Stdout.Write(b)
	c.Close()
	l.Close()
	s.Close()
}
