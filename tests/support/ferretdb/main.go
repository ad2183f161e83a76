// Command ferretdb is a MongoDB-speaking server for BunBun's tests: FerretDB 1.24 embedded, with
// its SQLite backend in a directory that the test gives and deletes.
//
//	ferretdb -listen 127.0.0.1:PORT -data DIRECTORY
//
// It ends when its standard input does, so that it never outlives the test that started it.
//
// FerretDB's own binary cannot be built from its module (it wants a file that only its own
// release process writes), which is why this program exists.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:27017", "address and port to listen on")
	data := flag.String("data", "", "directory of the SQLite files; empty: in memory")
	flag.Parse()

	if err := run(*listen, *data); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(listen, data string) error {
	url := "file:./?mode=memory"
	if data != "" {
		directory, err := filepath.Abs(data)
		if err != nil {
			return err
		}
		url = "file:" + directory + "/"
	}

	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: listen},
		Handler:   "sqlite",
		SQLiteURL: url,
	})
	if err != nil {
		return err
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()

	return server.Run(ctx)
}
