// Command undocumented prints the exported names of a package that have no doc comment.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"strings"
)

func main() {
	files := token.NewFileSet()
	isSource := func(info fs.FileInfo) bool { return !strings.HasSuffix(info.Name(), "_test.go") }
	packages, err := parser.ParseDir(files, os.Args[1], isSource, parser.ParseComments)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, parsed := range packages {
		for _, file := range parsed.Files {
			for _, declaration := range file.Decls {
				for _, name := range undocumented(declaration) {
					fmt.Println(files.Position(declaration.Pos()), name)
				}
			}
		}
	}
}

// undocumented returns the exported names of a declaration that have no comment of their own.
func undocumented(declaration ast.Decl) []string {
	var names []string
	check := func(name *ast.Ident, comments ...*ast.CommentGroup) {
		for _, comment := range comments {
			if comment.Text() != "" {
				return
			}
		}
		if name.IsExported() {
			names = append(names, name.Name)
		}
	}
	switch declaration := declaration.(type) {
	case *ast.FuncDecl:
		if declaration.Recv == nil || isExported(declaration.Recv.List[0].Type) {
			check(declaration.Name, declaration.Doc)
		}
	case *ast.GenDecl:
		for _, spec := range declaration.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				check(spec.Name, spec.Doc, declaration.Doc)
			case *ast.ValueSpec:
				for _, name := range spec.Names {
					check(name, spec.Doc, spec.Comment)
				}
			}
		}
	}
	return names
}

// isExported says whether the type of a receiver is exported.
func isExported(receiver ast.Expr) bool {
	switch receiver := receiver.(type) {
	case *ast.StarExpr:
		return isExported(receiver.X)
	case *ast.IndexExpr:
		return isExported(receiver.X)
	case *ast.Ident:
		return receiver.IsExported()
	default:
		return false
	}
}
