// Command nothing has no network: what any Go program weighs.
package main

import "os"

func main() { os.Stdout.WriteString("hello\n") }
