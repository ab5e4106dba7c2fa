// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command netprobe connects to an address over TCP or UDP, or answers on addresses over both, for tests of
// NetworkPolicies. It is part of the toolbox image.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// patience is how long an answer can take on a busy machine.
const patience = 3 * time.Second

const usage = `usage: netprobe tcp|udp ADDRESS    prints "connected", or why not
       netprobe serve ADDRESS...`

func main() {
	switch {
	case len(os.Args) == 3 && (os.Args[1] == "tcp" || os.Args[1] == "udp"):
		if err := probe(os.Args[1], os.Args[2]); err != nil {
			fmt.Println("not connected:", err)
		} else {
			fmt.Println("connected")
		}
		return
	case len(os.Args) > 2 && os.Args[1] == "serve":
		fmt.Fprintln(os.Stderr, serve(os.Args[2:]))
	default:
		fmt.Fprintln(os.Stderr, usage)
	}
	os.Exit(1)
}

func probe(network, address string) error {
	conn, err := net.DialTimeout(network, address, patience)
	if err != nil || network == "tcp" {
		return err
	}
	if _, err := io.WriteString(conn, "ping"); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

// serve returns only after an error.
func serve(addresses []string) error {
	failed := make(chan error)
	for _, address := range addresses {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					failed <- err
					return
				}
				_ = conn.Close()
			}
		}()
		packets, err := net.ListenPacket("udp", address)
		if err != nil {
			return err
		}
		go func() {
			buffer := make([]byte, 16)
			for {
				n, client, err := packets.ReadFrom(buffer)
				if err == nil {
					_, err = packets.WriteTo(buffer[:n], client)
				}
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}
