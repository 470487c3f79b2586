package main

import (
	"io"
	"net"
	"os"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
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
	c, err := net.Dial("tcp", l.Addr().String())
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
}
